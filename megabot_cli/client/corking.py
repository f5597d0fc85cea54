"""Messages that are sent together travel together."""

from __future__ import annotations

import contextlib
import socket as sockets
from collections.abc import Iterator

import aiohttp

# Where there is none (it is Linux's), each message travels when it is written.
_CORK = getattr(sockets, "TCP_CORK", None)
_OF_THE_INTERNET = (sockets.AF_INET, sockets.AF_INET6)


@contextlib.contextmanager
def corked(socket: aiohttp.ClientWebSocketResponse[bool] | None) -> Iterator[None]:
    """Have the kernel keep back what is written until the end, or until a packet is full.

    An event loop writes each message by itself, and a receiver that is quicker than we are is
    woken for each: on a virtual machine that costs the sender more than the message does.
    """
    line = socket.get_extra_info("socket") if socket is not None else None
    if _CORK is None or line is None or line.family not in _OF_THE_INTERNET:
        yield
        return
    with contextlib.suppress(OSError):  # it is gone: whoever writes will hear it
        line.setsockopt(sockets.IPPROTO_TCP, _CORK, 1)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            line.setsockopt(sockets.IPPROTO_TCP, _CORK, 0)
