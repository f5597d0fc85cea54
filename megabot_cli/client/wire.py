"""Below aiohttp's public surface: messages as they are parsed, frames built by hand.

The relay takes messages where aiohttp's parser delivers them, all that one read brought
together, without waking a task; it builds one frame for all clients that get it, and joins
the frames of one event-loop turn into one write. Everything that depends on how aiohttp is
built stands here; `tests/relay/test_wire.py` fails when that changes, and messages are then
read the public way, only slower.
"""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from typing import Any, Protocol

import aiohttp
import aiohttp.client
import aiohttp.web_ws
from aiohttp import web
from aiohttp._websocket.helpers import websocket_mask
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from megabot_cli.client.parting import PartsFromPeer, PartsFromServer
from megabot_cli.protocol.close_codes import sendable
from megabot_cli.protocol.frames import MASKED, MIDDLE, frame_end

TEXT = 0x81  # FIN and opcode 1 (RFC 6455, 5.2)
BINARY = 0x82

_LENGTH = 0x7F
_FIN = 0x80
_OPCODE = 0x0F
_CONTROL = 0x08  # opcodes from here on: close, ping, pong
_LONGEST = 0xFFFF  # of those

# The head of a frame by the length of its message (RFC 6455, 5.2), and the same with a mask.
_short, _masked_short = struct.Struct(">BB").pack, struct.Struct(">BB4s").pack
_middle, _masked_middle = struct.Struct(">BBH").pack, struct.Struct(">BBH4s").pack
_long, _masked_long = struct.Struct(">BBQ").pack, struct.Struct(">BBQ4s").pack

# A message above this is handed on before the rest of its read: what a few hundred kilobytes
# of deflate unfold to must not all be held at once.
_LARGE_BYTES = 4096

_LEAST_HEAD = 4  # bytes from which on a head can be read without asking for each of them
_HELD_BYTES = 16 * 1024  # a frame of so much may be kept back until it is whole
_WELL = (False, b"")  # aiohttp's answer to a read without a fault


class Sink(Protocol):
    """Takes messages that came together: their bytes, oldest first, and whether they are binary.

    `whole`, where it is there: the frames of just these, in this order, as they came, with the
    shortest heads there are. What goes on unchanged need not be framed again.
    """

    def __call__(
        self, batch: list[bytes], binary: bool, whole: bytes | None = None, /
    ) -> object: ...


Socket = web.WebSocketResponse[bool] | aiohttp.ClientWebSocketResponse[bool]


_TEXT = aiohttp.WSMsgType.TEXT
_CLOSE = aiohttp.WSMsgType.CLOSE
_MESSAGES = frozenset({_TEXT, aiohttp.WSMsgType.BINARY})


class DirectQueue(WebSocketDataQueue):
    """aiohttp's queue between parser and reader, with a way past it.

    What one read from the network brings goes straight to `sink` when nothing that came
    before it waits in the queue; pings, closes and errors always take the queue. Without a
    sink it is aiohttp's own.
    """

    sink: Sink | None = None
    collects = False  # while a read is parsed; what aiohttp itself feeds goes into the queue

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._together: list[Any] = []

    def feed_data(self, data: Any, size: int) -> None:
        if not self.collects:
            self._keep(data, size)
            return
        self._together.append(data)
        if size > _LARGE_BYTES:
            self._hand_on()
            self.collects = self.sink is not None

    def _keep(self, data: Any, size: int) -> None:
        """aiohttp lets 1006 and codes above 4999 pass, which nobody may send. 0: there is none."""
        if data.type is _CLOSE and data.data and sendable(data.data) != data.data:
            text = f"Invalid close code: {data.data}"
            raise aiohttp.WebSocketError(aiohttp.WSCloseCode.PROTOCOL_ERROR, text)
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """aiohttp takes deflate that cannot be read for a fault of its own."""
        if isinstance(exc, zlib.error):
            exc = aiohttp.WebSocketError(aiohttp.WSCloseCode.PROTOCOL_ERROR, "broken deflate")
        super().set_exception(exc, *cause)

    def read_is_over(self) -> None:
        """All messages of one read from the network are there."""
        self.collects = False
        if self._together:
            self._hand_on()

    def _hand_on(self) -> None:
        together, self._together = self._together, []
        sink = self.sink
        if sink is not None and not self._buffer:
            texts = [each.data for each in together if each.type is _TEXT]
            if len(texts) == len(together):
                sink(texts, False)
                return
        for each in together:
            data, sink = each.data, self.sink
            if sink is None or self._buffer or each.type not in _MESSAGES:
                self._keep(each, len(data) if isinstance(data, bytes) else 0)
            else:
                sink([data], each.type is not _TEXT)


class DirectReader(WebSocketReader):
    """aiohttp's parser, with a way past it for what nearly everything is.

    Whole, unfragmented, uncompressed text of up to 64 KiB is read here, all that one read
    brought in one go. Every other frame is aiohttp's to parse, and to refuse; what it is given
    is followed by the lengths in its heads, to know where the next frame begins.
    """

    # Whether the other side must mask its frames: a client must, a server must not (RFC 6455,
    # 5.1). aiohttp reads both; but frames go on as they came. None: either.
    peer_masks: bool | None = None

    def __init__(
        self, queue: Any, max_msg_size: int, compress: bool, decode_text: bool = True
    ) -> None:
        super().__init__(queue, max_msg_size, compress, decode_text)
        self._direct: DirectQueue = queue
        self._most = max_msg_size or _LONGEST
        self._most_held = min(_HELD_BYTES, self._most)
        self._takes_bytes = not decode_text
        self._begun = b""  # of a frame, too little to do anything with
        self._owed = 0  # bytes still to come of a frame that aiohttp has the beginning of
        self._fragmented = False  # a message has begun that ends in another frame
        # Whether what comes next is a frame that may go past aiohttp, if it is a simple one.
        self._at_a_head = self._takes_bytes

    def feed_data(self, data: Any) -> tuple[bool, bytes]:
        if not data:
            # A queue that was full has room: what comes is behind what is just being read.
            return self._parse(b"")
        if type(data) is not bytes:
            data = bytes(data)
        if self._begun:
            data, self._begun = self._begun + data, b""
        at, end, queue = 0, len(data), self._direct
        while True:
            if self._at_a_head and queue.sink is not None and not queue._buffer:
                try:
                    at = self._take_texts(data, at)
                except Exception as fault:  # as aiohttp's own does: who reads the socket hears it
                    queue.set_exception(fault)
                    return True, b""
                if at == end:
                    return _WELL
            try:
                upto = self._aiohttps_share(data, at)
            except aiohttp.WebSocketError as fault:
                queue.set_exception(fault)
                return True, b""
            self._at_a_head = self._takes_bytes and not (self._owed or self._fragmented)
            if upto > at:
                answer = self._give(data[at:upto])
                if answer[0] or upto == end:
                    return answer
            if self._begun:
                return _WELL
            at = upto

    def _take_texts(self, data: bytes, at: int) -> int:
        """Hand on the simple texts from `at` on; returns where the first other frame begins."""
        queue, most, end, start = self._direct, self._most, len(data), at
        peer_masks = self.peer_masks
        texts: list[bytes] = []
        copy: bytearray | None = None  # slices of it can be unmasked in place
        while end - at >= _LEAST_HEAD and data[at] == TEXT:
            second = data[at + 1]
            size = second & _LENGTH
            if size < MIDDLE:
                body = at + 2
            elif size == MIDDLE:
                size = data[at + 2] << 8 | data[at + 3]
                if size < MIDDLE:  # a head longer than it need be
                    break
                body = at + 4
            else:
                break
            if second < MASKED:
                if peer_masks:
                    break  # to be refused, after what came before it
                after = body + size
                if after > end or size > most:
                    break
                texts.append(data[body:after])
            else:
                if peer_masks is False:
                    break
                mask = data[body : body + 4]
                body += 4
                after = body + size
                if after > end or size > most:
                    break
                if copy is None:
                    copy = bytearray(data)
                unmasked = copy[body:after]
                websocket_mask(mask, unmasked)
                texts.append(b"" + unmasked)  # a third of what `bytes()` takes
            at = after
            if size > _LARGE_BYTES:
                queue.sink(texts, False, data[start:at])  # type: ignore[misc]
                texts, start = [], at
                if queue.sink is None:  # whoever takes them asks for patience
                    return at
        if texts:
            queue.sink(texts, False, data[start:at])  # type: ignore[misc]
        return at

    def _aiohttps_share(self, data: bytes, at: int) -> int:
        """How far `data` is aiohttp's from `at` on, where a frame begins that is not simple.

        What is only the beginning of a frame, and of no use to anybody yet, is kept back.
        """
        end = len(data)
        if self._owed:
            given = min(self._owed, end - at)
            self._owed -= given
            return at + given
        queue, start = self._direct, at
        reads = self._at_a_head and queue.sink is not None and not queue._buffer
        while at < end:
            after = frame_end(data, at)
            if after:
                self._check_mask(data[at + 1] >= MASKED)
            simple = reads and data[at] == TEXT and not self._fragmented
            if not after or (simple and end < after <= at + self._most_held):
                self._begun = data[at:]
                break
            if simple and at > start and after <= end:
                break
            if data[at] & _OPCODE < _CONTROL:
                self._fragmented = data[at] < _FIN
            if after > end:
                self._owed = after - end
                return end
            at = after
        return at

    def _check_mask(self, is_masked: bool) -> None:
        if self.peer_masks not in (None, is_masked):
            what = "masked frame" if is_masked else "frame without a mask"
            raise aiohttp.WebSocketError(aiohttp.WSCloseCode.PROTOCOL_ERROR, what)

    def _give(self, piece: bytes) -> tuple[bool, bytes]:
        """Have aiohttp parse what is its own, and hand on what that brings."""
        queue = self._direct
        if queue.sink is None:
            return self._parse(piece)
        queue.collects = True
        answer = self._parse(piece)
        try:
            queue.read_is_over()
        except Exception as fault:
            queue.set_exception(fault)
            return True, b""
        return answer

    def _parse(self, piece: bytes) -> tuple[bool, bytes]:
        answer: tuple[bool, bytes] = super().feed_data(piece)
        return answer


class ClientsReader(DirectReader):
    """For what a client sends."""

    peer_masks = True


class UpstreamsReader(DirectReader):
    """For what a server sends."""

    peer_masks = False


# aiohttp makes both by these names, before anybody can hand it others. All sockets of this
# process get ours, and those without a sink work as ever.
for _module, _reader in ((aiohttp.web_ws, ClientsReader), (aiohttp.client, UpstreamsReader)):
    _module.WebSocketDataQueue = DirectQueue  # type: ignore[attr-defined]
    _module.WebSocketReader = _reader  # type: ignore[attr-defined]


def deliver_to(socket: Socket, sink: Sink | None) -> bool:
    """Have messages of `socket` go straight to `sink`; None: back into the queue.

    False when this aiohttp is built differently: then they all come by `receive`.
    """
    queue = getattr(socket, "_reader", None)
    direct = isinstance(getattr(socket, "_parser", None), DirectReader)
    if not direct or not isinstance(queue, DirectQueue):
        return False
    queue.sink = sink
    return True


class Heard(Protocol):
    """A socket that notes when bytes arrive: whoever looks sets `heard` back."""

    heard: bool


class HeardSocket(PartsFromPeer, web.WebSocketResponse[bool]):
    """A client's socket without aiohttp's own heartbeat, whose timers cost more than a message.

    Created with `heartbeat`, it is told of arriving bytes; where aiohttp is built differently
    that heartbeat works as ever.
    """

    heard = True

    def _on_data_received(self) -> None:
        self.heard = True

    def _reset_heartbeat(self) -> None:
        """Started when the socket opens, and after each arrival: never, here."""


class HeardUpstream(PartsFromServer, aiohttp.ClientWebSocketResponse[bool]):
    """The same for a link: `client.dial` is told to make it one."""

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
        return _short(first_byte, size) + data
    if size < 65536:
        return _middle(first_byte, 126, size) + data
    return _long(first_byte, 127, size) + data


def open_server_frame(frame: bytes) -> tuple[bytes, int]:
    """The message in a frame that `server_frame` built, and its first byte."""
    head = {126: 4, 127: 10}.get(frame[1], 2)
    return frame[head:], frame[0]


class MaskSource:
    """Unpredictable 4-byte masks (RFC 6455, 5.3), drawn from the system in blocks of 1024."""

    def __init__(self) -> None:
        self._masks: list[bytes] = []

    def take(self) -> bytes:
        if not self._masks:
            self._masks = [mask for (mask,) in struct.iter_unpack("4s", os.urandom(4096))]
        return self._masks.pop()


def client_frame(data: bytes, mask: bytes, first_byte: int = TEXT) -> bytes:
    """One whole masked message, as a client sends it (RFC 6455, 5.3)."""
    return b"".join(_masked_pieces(data, mask, first_byte))


def client_frames(messages: list[tuple[bytes, int]], masks: MaskSource) -> bytes:
    """The same of several, each with its first byte, joined as they leave."""
    pieces: list[bytes | bytearray] = []
    for data, first_byte in messages:
        pieces += _masked_pieces(data, masks.take(), first_byte)
    return b"".join(pieces)


def _masked_pieces(data: bytes, mask: bytes, first_byte: int) -> tuple[bytes, bytearray]:
    size = len(data)
    if size < 126:
        head = _masked_short(first_byte, MASKED | size, mask)
    elif size < 65536:
        head = _masked_middle(first_byte, MASKED | 126, size, mask)
    else:
        head = _masked_long(first_byte, MASKED | 127, size, mask)
    masked = bytearray(data)
    websocket_mask(mask, masked)
    return head, masked


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


async def room_for_more(socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
    """Return when what was written past aiohttp's writer has mostly left.

    Raises aiohttp.ClientConnectionResetError where the connection is gone.
    """
    await socket._writer.protocol._drain_helper()
