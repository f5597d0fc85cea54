"""permessage-deflate (RFC 7692) with the parameters of the specification's server.

aiohttp negotiates the extension but lets nobody choose level, memory, window, threshold or
context takeover. What goes below its public surface for that stands here;
`tests/gateway/test_deflating.py` fails when aiohttp is built differently, and frames are
then compressed aiohttp's way. Nor does aiohttp mind a client that masks nothing, which here
ends the connection.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Any, Literal

import aiohttp.web_ws
from aiohttp import WebSocketError, WSCloseCode, WSMsgType, hdrs, web
from aiohttp._websocket.reader import WebSocketReader

from megabot_cli.client.parting import PartsFromPeer
from megabot_cli.protocol.frames import MaskWatch

LEVEL = 3
MEMORY_LEVEL = 7
WINDOW_BITS = 10
THRESHOLD_BYTES = 1024

# A quarter of a millisecond's work; longer messages are compressed in a thread.
AT_ONCE_BYTES = 8 * 1024

_RSV1 = 0x40  # this frame is compressed
_TAIL = b"\x00\x00\xff\xff"  # ends each deflated message, and is left out (7.2.1)
_OFFERED_WINDOW = re.compile(r"server_max_window_bits=\"?(\d+)")


def deflate(message: bytes, window_bits: int = WINDOW_BITS) -> bytes:
    """One message compressed by itself, with nothing remembered of those before it."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -window_bits, MEMORY_LEVEL)
    squeezed = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return squeezed.removesuffix(_TAIL)


class MaskedReader(WebSocketReader):
    """aiohttp's parser of what clients send; a frame without a mask is refused with 1002, after
    what came before it (RFC 6455, 5.1)."""

    def __init__(self, queue: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(queue, *arguments, **options)
        self._heard = queue
        self._masks = MaskWatch()

    def feed_data(self, data: Any) -> tuple[bool, bytes]:
        data = bytes(data)
        good = self._masks.take(data)
        answer: tuple[bool, bytes] = super().feed_data(data if good is None else data[:good])
        if good is None or answer[0]:
            return answer
        self._heard.set_exception(
            WebSocketError(WSCloseCode.PROTOCOL_ERROR, "frame without a mask")
        )
        return True, b""


# aiohttp makes it by this name. Where a relay runs in this process its own is there, or comes,
# and looks at masks too.
if vars(aiohttp.web_ws).get("WebSocketReader") is WebSocketReader:
    aiohttp.web_ws.WebSocketReader = MaskedReader  # type: ignore[attr-defined]


class DeflatingSocket(PartsFromPeer, web.WebSocketResponse[Literal[False]]):
    """A server's socket that compresses text of 1024 bytes and more, where the client offers.

    `deflates` says whether it was agreed on, after `prepare`.
    """

    deflates = False
    _window_bits = WINDOW_BITS

    def _handshake(self, request: web.BaseRequest) -> Any:
        headers, protocol, compress, notakeover = super()._handshake(request)
        if compress:
            offered = _OFFERED_WINDOW.search(request.headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS, ""))
            if offered is not None:
                self._window_bits = min(WINDOW_BITS, int(offered[1]))
            headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                f"server_max_window_bits={self._window_bits}"
            )
            self.deflates = True
        return headers, protocol, compress, notakeover

    async def send_frame(
        self, message: bytes, opcode: WSMsgType, compress: int | None = None
    ) -> None:
        """Send one frame; long text leaves compressed."""
        writer = self._writer
        if not self.deflates or writer is None or opcode is not WSMsgType.TEXT:
            await super().send_frame(message, opcode, compress)
            return
        write_frame = getattr(writer, "_write_websocket_frame", None)
        if write_frame is None:
            await super().send_frame(message, opcode, compress)
        elif len(message) < THRESHOLD_BYTES:
            write_frame(message, int(opcode), 0)
        elif len(message) <= AT_ONCE_BYTES:
            write_frame(deflate(message, self._window_bits), int(opcode), _RSV1)
        else:
            squeezed = await asyncio.to_thread(deflate, message, self._window_bits)
            write_frame(squeezed, int(opcode), _RSV1)
