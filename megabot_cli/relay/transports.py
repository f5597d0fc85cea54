"""What the relay asks of a transport, or does past it. Nothing here depends on aiohttp."""

from __future__ import annotations

import asyncio
import ipaddress
import os


def unseen(transport: asyncio.BaseTransport) -> bool:
    """Whether nobody on the way can read what `transport` sends: it is encrypted, or stays on
    this machine.

    Masks are there for whoever stands between and could be fooled by chosen bytes (RFC 6455,
    10.3). Where nobody does, a frame that a client masked may go on as it is.
    """
    if transport.get_extra_info("sslcontext") is not None:
        return True
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback
    return isinstance(peer, str)  # a Unix socket's


def descriptor_of(transport: asyncio.BaseTransport) -> int:
    """Where bytes can be written past a transport; -1: nowhere, for it changes them, or a
    socket is no file."""
    line = transport.get_extra_info("socket")
    if os.name != "posix" or line is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    descriptor: int = line.fileno()
    return descriptor
