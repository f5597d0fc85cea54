"""The process between local clients and the upstream.

`server` owns the listeners and the life of the whole; `admission` says who may connect;
a `Session` joins one `Link` with its clients, each with its `Outbox`. A message runs
through plain calls from the socket it came on to the sockets it leaves by.
"""
