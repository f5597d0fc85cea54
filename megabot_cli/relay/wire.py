"""Below aiohttp's public surface: messages as they are parsed, frames built by hand.

The relay takes a message where aiohttp's parser delivers it, without waking a task; it
builds one frame for all clients that get it, and joins the frames of one event-loop turn
into one write. Everything that depends on how aiohttp is built stands here;
`tests/relay/test_wire.py` fails when that changes, and messages are then read the public
way, only slower.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import aiohttp
import aiohttp.client
import aiohttp.web_ws
from aiohttp import web
from aiohttp._websocket.helpers import websocket_mask
from aiohttp._websocket.reader import WebSocketDataQueue

TEXT = 0x81  # FIN and opcode 1 (RFC 6455, 5.2)
BINARY = 0x82

_MASKED = 0x80

# The head of a frame by the length of its message (RFC 6455, 5.2), and the same with a mask.
_SHORT, _MASKED_SHORT = struct.Struct(">BB"), struct.Struct(">BB4s")
_MIDDLE, _MASKED_MIDDLE = struct.Struct(">BBH"), struct.Struct(">BBH4s")
_LONG, _MASKED_LONG = struct.Struct(">BBQ"), struct.Struct(">BBQ4s")

Sink = Callable[[bytes, bool], object]
"""Takes one message: its bytes, and whether it is binary."""

Socket = web.WebSocketResponse[bool] | aiohttp.ClientWebSocketResponse[bool]


class DirectQueue(WebSocketDataQueue):
    """aiohttp's queue between parser and reader, with a way past it.

    A message goes straight to `sink` when nothing that came before it waits in the queue;
    pings, closes and errors always take the queue. Without a sink it is aiohttp's own.
    """

    sink: Sink | None = None

    def feed_data(self, data: Any, size: int) -> None:
        sink = self.sink
        if sink is not None and not self._buffer:
            if data.type is aiohttp.WSMsgType.TEXT:
                sink(data.data, False)
                return
            if data.type is aiohttp.WSMsgType.BINARY:
                sink(data.data, True)
                return
        super().feed_data(data, size)


# aiohttp makes its queue by this name, before anybody can hand it another. All sockets of
# this process get ours, and those without a sink work as ever.
aiohttp.web_ws.WebSocketDataQueue = DirectQueue  # type: ignore[attr-defined]
aiohttp.client.WebSocketDataQueue = DirectQueue  # type: ignore[attr-defined]


def deliver_to(socket: Socket, sink: Sink | None) -> bool:
    """Have messages of `socket` go straight to `sink`; None: back into the queue.

    False when this aiohttp is built differently: then they all come by `receive`.
    """
    queue = getattr(socket, "_reader", None)
    if not isinstance(queue, DirectQueue):
        return False
    queue.sink = sink
    return True


class Heard(Protocol):
    """A socket that notes when bytes arrive: whoever looks sets `heard` back."""

    heard: bool


class HeardSocket(web.WebSocketResponse[bool]):
    """A client's socket without aiohttp's own heartbeat, whose timers cost more than a message.

    Created with `heartbeat`, it is told of arriving bytes; where aiohttp is built differently
    that heartbeat works as ever.
    """

    heard = True

    def _on_data_received(self) -> None:
        self.heard = True

    def _reset_heartbeat(self) -> None:
        """Started when the socket opens, and after each arrival: never, here."""


class HeardUpstream(aiohttp.ClientWebSocketResponse[bool]):
    """The same for a link: `aiohttp.ClientSession(ws_response_class=HeardUpstream)`."""

    heard = True

    def _on_data_received(self) -> None:
        self.heard = True

    def _reset_heartbeat(self) -> None:
        """See `HeardSocket`."""


CAN_HEAR = all(
    hasattr(parent, method)
    for parent in (web.WebSocketResponse, aiohttp.ClientWebSocketResponse)
    for method in ("_on_data_received", "_reset_heartbeat")
)
"""Whether the two above work; if not, aiohttp's heartbeats do, and nobody else need ping."""

SERVER_PING = b"\x89\x00"


def client_ping(mask: bytes) -> bytes:
    """An empty ping as a client sends it."""
    return b"\x89\x80" + mask


def server_frame(data: bytes, first_byte: int = TEXT) -> bytes:
    """One whole unmasked message, as a server sends it (RFC 6455, 5.2)."""
    size = len(data)
    if size < 126:
        return _SHORT.pack(first_byte, size) + data
    if size < 65536:
        return _MIDDLE.pack(first_byte, 126, size) + data
    return _LONG.pack(first_byte, 127, size) + data


def open_server_frame(frame: bytes) -> tuple[bytes, int]:
    """The message in a frame that `server_frame` built, and its first byte."""
    head = {126: 4, 127: 10}.get(frame[1], 2)
    return frame[head:], frame[0]


class MaskSource:
    """Unpredictable 4-byte masks (RFC 6455, 5.3), drawn from the system in blocks of 1024."""

    def __init__(self) -> None:
        self._masks: Iterator[tuple[bytes]] = iter(())

    def take(self) -> bytes:
        for (mask,) in self._masks:
            return mask
        self._masks = struct.iter_unpack("4s", os.urandom(4096))
        return next(self._masks)[0]


def client_frame(data: bytes, mask: bytes, first_byte: int = TEXT) -> bytes:
    """One whole masked message, as a client sends it (RFC 6455, 5.3)."""
    size = len(data)
    if size < 126:
        head = _MASKED_SHORT.pack(first_byte, _MASKED | size, mask)
    elif size < 65536:
        head = _MASKED_MIDDLE.pack(first_byte, _MASKED | 126, size, mask)
    else:
        head = _MASKED_LONG.pack(first_byte, _MASKED | 127, size, mask)
    masked = bytearray(data)
    websocket_mask(mask, masked)
    return head + masked


def client_transport(request: web.Request) -> asyncio.Transport | None:
    """The transport of a client's connection; None when it is gone already.

    uvloop's transports have the methods but not the base class: no `isinstance` here.
    """
    return request.transport


def upstream_transport(
    socket: aiohttp.ClientWebSocketResponse[bool],
) -> asyncio.Transport | None:
    """The transport of a link. aiohttp shows it only through the response it grew from."""
    connection = socket._response.connection
    return connection.transport if connection is not None else None
