"""permessage-deflate (RFC 7692) with the parameters of the specification's server.

aiohttp negotiates the extension but lets nobody choose level, memory, window, threshold or
context takeover. Where it is built differently from what `client.wire` knows of it, frames are
compressed its own way.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Literal

from aiohttp import WSMsgType, web

from megabot_cli.client.wire import AgreesOnDeflate, PartsFromPeer, frame_writer

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


class DeflatingSocket(AgreesOnDeflate, PartsFromPeer, web.WebSocketResponse[Literal[False]]):
    """A server's socket that compresses text of 1024 bytes and more, where the client offers.

    `deflates` says whether it was agreed on, after `prepare`.
    """

    deflates = False
    _window_bits = WINDOW_BITS

    def agree(self, offer: str) -> str:
        offered = _OFFERED_WINDOW.search(offer)
        if offered is not None:
            self._window_bits = min(WINDOW_BITS, int(offered[1]))
        self.deflates = True
        return (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
            f"server_max_window_bits={self._window_bits}"
        )

    async def send_frame(
        self, message: bytes, opcode: WSMsgType, compress: int | None = None
    ) -> None:
        """Send one frame; long text leaves compressed."""
        compresses = self.deflates and opcode is WSMsgType.TEXT
        write_frame = frame_writer(self) if compresses else None
        if write_frame is None:
            await super().send_frame(message, opcode, compress)
        elif len(message) < THRESHOLD_BYTES:
            write_frame(message, int(opcode), 0)
        elif len(message) <= AT_ONCE_BYTES:
            write_frame(deflate(message, self._window_bits), int(opcode), _RSV1)
        else:
            squeezed = await asyncio.to_thread(deflate, message, self._window_bits)
            write_frame(squeezed, int(opcode), _RSV1)
