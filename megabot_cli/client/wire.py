"""All that goes below aiohttp's public surface.

Messages are taken where aiohttp's parser delivers them, all that one read brought together,
without waking a task; frames are masked by its own C, and written past its writer; who breaks
the protocol reads why; a heartbeat costs no timer; deflate has the parameters we want. Everything
that depends on how aiohttp is built stands here; `tests/client/test_wire.py` fails when that
changes, and messages are then read the public way, only slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
import aiohttp.client
import aiohttp.web_ws
from aiohttp import WebSocketError, WSCloseCode, WSMsgType, hdrs, web
from aiohttp._websocket.helpers import websocket_mask
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from megabot_cli.client.masks import MaskSource
from megabot_cli.client.parting import code_for, part
from megabot_cli.protocol.close_codes import sendable
from megabot_cli.protocol.frames import LONG, LONGEST, MASKED, MIDDLE, TEXT, FrameWalk, WrongMask

_LENGTH = 0x7F

# The head of a masked frame by the length of its message (RFC 6455, 5.2).
_short, _middle = struct.Struct(">BB4s").pack, struct.Struct(">BBH4s").pack
_long = struct.Struct(">BBQ4s").pack

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

_TEXT = WSMsgType.TEXT
_CLOSE = WSMsgType.CLOSE
_MESSAGES = frozenset({_TEXT, WSMsgType.BINARY})


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
            raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, text)
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """aiohttp takes deflate that cannot be read for a fault of its own."""
        if isinstance(exc, zlib.error):
            exc = WebSocketError(WSCloseCode.PROTOCOL_ERROR, "broken deflate")
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


class DirectReader(FrameWalk, WebSocketReader):
    """aiohttp's parser, with a way past it for what nearly everything is.

    Whole, unfragmented, uncompressed text of up to 64 KiB is read here, all that one read
    brought in one go. Every other frame is aiohttp's to parse, and to refuse; what it is given
    is followed by the lengths in its heads, to know where the next frame begins.
    """

    def __init__(
        self, queue: Any, max_msg_size: int, compress: bool, decode_text: bool = True
    ) -> None:
        super().__init__(queue, max_msg_size, compress, decode_text)
        self._direct: DirectQueue = queue
        self._most = max_msg_size or LONGEST
        self._most_held = min(_HELD_BYTES, self._most)
        self._takes_bytes = not decode_text
        # Whether what comes next is a frame that may go past aiohttp, if it is a simple one.
        self._at_a_head = self._takes_bytes

    def feed_data(self, data: Any) -> tuple[bool, bytes]:
        if not data:
            # A queue that was full has room: what comes is behind what is just being read.
            return self._parse(b"")
        if type(data) is not bytes:
            data = bytes(data)
        if self.begun:
            data, self.begun = self.begun + data, b""
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
            reads = self._at_a_head and queue.sink is not None and not queue._buffer
            try:
                upto = self.upto(data, at, reads=reads, most_held=self._most_held)
            except WrongMask as fault:
                queue.set_exception(WebSocketError(WSCloseCode.PROTOCOL_ERROR, str(fault)))
                return True, b""
            self._at_a_head = self._takes_bytes and not (self.owed or self.fragmented)
            if upto > at:
                answer = self._give(data[at:upto])
                if answer[0] or upto == end:
                    return answer
            if self.begun:
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


class PartsFromPeer:
    """For a server's socket of aiohttp's: what breaks the protocol, or is too big, is told with a
    close frame, and the connection stays until `part`."""

    must_part = False
    _exception: BaseException | None
    _reader: Any
    _req: Any

    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        """As aiohttp's own; but what failed in us is no normal end, and who broke the protocol is
        not waited for until it reads: it has its time in `part`."""
        fault = self._reader.exception() if self._reader is not None else None
        drain = drain and not isinstance(fault, WebSocketError)
        if code == WSCloseCode.OK:
            code = code_for(fault)
        closed: bool = await super().close(code=code, message=message, drain=drain)  # type: ignore[misc]
        return closed

    def _close_transport(self) -> None:
        """aiohttp hangs up here, whatever the peer is still sending."""
        if isinstance(self._exception, WebSocketError):
            self.must_part = True
        else:
            super()._close_transport()  # type: ignore[misc]

    async def part(self) -> None:
        """End the connection, if what the peer did has left that to be done."""
        transport = self._req.transport if self.must_part and self._req is not None else None
        if transport is not None:
            await part(transport)


class PartsFromServer:
    """The same for a client's socket: the first `close` only tells, and with the second one the
    server has its time."""

    _closed: bool
    _reader: Any
    _response: Any
    _writer: Any

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"") -> bool:
        """As aiohttp's own, where the server has kept to the protocol."""
        if not isinstance(self._reader.exception(), WebSocketError):
            if code == WSCloseCode.OK:
                code = code_for(self._reader.exception())
            closed: bool = await super().close(code=code, message=message)  # type: ignore[misc]
            return closed
        if not self._closed:
            self._set_closed()  # type: ignore[attr-defined]
            with contextlib.suppress(ConnectionError):
                await self._writer.close(code, message)
            return True
        connection = self._response.connection
        try:
            if connection is not None and connection.transport is not None:
                await part(connection.transport)
        finally:
            self._response.close()
        return False


class AgreesOnDeflate:
    """For a server's socket that answers an offer of permessage-deflate as it wants.

    `agree` makes the answer of the offer, both as in Sec-WebSocket-Extensions.
    """

    agree: Callable[[str], str]

    def _handshake(self, request: web.BaseRequest) -> Any:
        headers, protocol, compress, notakeover = super()._handshake(request)  # type: ignore[misc]
        if compress:
            offer = request.headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS, "")
            headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = self.agree(offer)
        return headers, protocol, compress, notakeover


def frame_writer(socket: Any) -> Callable[[bytes, int, int], object] | None:
    """What writes a frame of a socket as it is: content, opcode, reserved bits.

    None where the socket is not open, or this aiohttp is built differently.
    """
    return getattr(socket._writer, "_write_websocket_frame", None)


class _Heard:
    """For a socket without aiohttp's own heartbeat, whose timers cost more than a message.

    Created with `heartbeat`, it notes that bytes arrive; where aiohttp is built differently that
    heartbeat works as ever.
    """

    heard = True

    def _on_data_received(self) -> None:
        self.heard = True

    def _reset_heartbeat(self) -> None:
        """Started when the socket opens, and after each arrival: never, here."""


class HeardSocket(_Heard, PartsFromPeer, web.WebSocketResponse[bool]):
    """A client's."""


class HeardUpstream(_Heard, PartsFromServer, aiohttp.ClientWebSocketResponse[bool]):
    """A link's: `client.dial` is told to make it one."""


CAN_HEAR = all(
    hasattr(parent, method)
    for parent in (web.WebSocketResponse, aiohttp.ClientWebSocketResponse)
    for method in ("_on_data_received", "_reset_heartbeat")
)
"""Whether the two above work; if not, aiohttp's heartbeats do, and nobody else need ping."""


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
    if size < MIDDLE:
        head = _short(first_byte, MASKED | size, mask)
    elif size <= LONGEST:
        head = _middle(first_byte, MASKED | MIDDLE, size, mask)
    else:
        head = _long(first_byte, MASKED | LONG, size, mask)
    masked = bytearray(data)
    websocket_mask(mask, masked)
    return head, masked


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


def give_no_code(socket: Any) -> None:
    """Have a socket's close go without a code, as the close that it passes on came."""
    writer = socket._writer

    async def close(_code: int, _message: bytes) -> None:
        try:
            await writer.send_frame(b"", WSMsgType.CLOSE)
        finally:
            writer._closing = True

    writer.close = close
