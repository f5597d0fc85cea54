"""WebSockets with next to nothing around them, for both ends of a measured relay.

What loads a relay has to be lighter than the relay, or it is itself that is measured. No
checks, no fragments, no extensions: benchmarks talk to nobody else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

from aiohttp._websocket.helpers import websocket_mask

TEXT = 0x81
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK = b"\x5a\x13\xc7\x91"


def frame(payload: bytes, *, masked: bool) -> bytes:
    """One whole text message."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", TEXT, bit | size)
    else:
        head = struct.pack(">BBH", TEXT, bit | 126, size)
    if not masked:
        return head + payload
    content = bytearray(payload)
    websocket_mask(_MASK, content)
    return head + _MASK + content


class LeanSocket(asyncio.Protocol):
    """One end. `url`: connect there as a client does; None: be the server."""

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._buffer = b""
        self._open = False
        self.query = ""
        self.transport: asyncio.Transport

    # -- what an end of a benchmark does -----------------------------------------------------

    def opened(self) -> None:
        """The handshake is done."""

    def arrived(self, messages: list[bytes]) -> None:
        """What came in one piece."""

    # -- the protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        if self._url is None:
            return
        parts = urlsplit(self._url)
        self.transport.write(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._open and not self._shake_hands():
            return
        messages = list(self._messages())
        if messages:
            self.arrived(messages)

    def _shake_hands(self) -> bool:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        self._buffer, self._open = rest, True
        if self._url is None:
            lines = head.decode().split("\r\n")
            self.query = lines[0].split(" ")[1].partition("?")[2]
            named = {name.lower(): value for name, value in (x.split(": ", 1) for x in lines[1:])}
            key = named["sec-websocket-key"]
            digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
            accept = base64.b64encode(digest).decode()
            self.transport.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
        self.opened()
        return True

    def _messages(self) -> Iterator[bytes]:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:
            size, start = buffer[at + 1] & 0x7F, at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            mask = None
            if buffer[at + 1] & 0x80:
                mask, start = buffer[start : start + 4], start + 4
            if len(buffer) < start + size:
                break
            payload: bytes | bytearray = buffer[start : start + size]
            if mask is not None:
                payload = bytearray(payload)
                websocket_mask(mask, payload)
            if buffer[at] == TEXT:
                yield bytes(payload)
            at = start + size
        self._buffer = buffer[at:]
