"""WebSocket frames built by hand, and the transports they go to.

The relay builds one frame per message for all clients that get it, and joins the frames
of one event-loop turn into one write. aiohttp's own writer does neither, so this file
goes below it; everything that depends on how aiohttp is built stands here, and
`tests/relay/test_wire.py` fails when that changes.
"""

from __future__ import annotations

import asyncio
import os

import aiohttp
from aiohttp import web

TEXT = 0x81  # FIN and opcode 1 (RFC 6455, 5.2)
BINARY = 0x82

_MASKED = 0x80


def server_frame(data: bytes, first_byte: int = TEXT) -> bytes:
    """One whole unmasked message, as a server sends it (RFC 6455, 5.2)."""
    size = len(data)
    if size < 126:
        return bytes((first_byte, size)) + data
    if size < 65536:
        return bytes((first_byte, 126)) + size.to_bytes(2, "big") + data
    return bytes((first_byte, 127)) + size.to_bytes(8, "big") + data


class MaskSource:
    """Unpredictable 4-byte masks (RFC 6455, 5.3), drawn from the system in blocks of 1024."""

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def take(self) -> bytes:
        if self._at >= len(self._block):
            self._block = os.urandom(4096)
            self._at = 0
        self._at += 4
        return self._block[self._at - 4 : self._at]


def client_frame(data: bytes, mask: bytes, first_byte: int = TEXT) -> bytes:
    """One whole masked message, as a client sends it (RFC 6455, 5.3)."""
    size = len(data)
    if size < 126:
        head = bytes((first_byte, _MASKED | size))
    elif size < 65536:
        head = bytes((first_byte, _MASKED | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first_byte, _MASKED | 127)) + size.to_bytes(8, "big")
    return head + mask + _xor(data, mask)


def _xor(data: bytes, mask: bytes) -> bytes:
    """Mask as one operation on whole integers, which needs no code of anybody's in C."""
    size = len(data)
    whole_mask = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "little") ^ int.from_bytes(whole_mask, "little")
    return masked.to_bytes(size, "little")


def client_transport(request: web.Request) -> asyncio.Transport | None:
    """The transport of a client's connection; None when it is gone already.

    uvloop's transports have the methods but not the base class: no `isinstance` here.
    """
    return request.transport


def upstream_transport(
    socket: aiohttp.ClientWebSocketResponse[bool],
) -> asyncio.WriteTransport | None:
    """The transport of a link. aiohttp shows it only through the response it grew from."""
    connection = socket._response.connection
    return connection.transport if connection is not None else None
