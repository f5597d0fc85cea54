"""End a connection whose peer still sends what was refused, so that it reads why.

A socket that is closed while bytes lie unread in it is reset, and a reset takes with it what
the peer has not read yet: the close frame. RFC 6455 (7.1.1) has the one who closes end its own
side and read on until the other has ended, too. Many programs give up what they are writing when
the other side ends: that waits until nothing more comes.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from aiohttp import ClientError, WSCloseCode

PART_S = 2.0
QUIET_S = 0.3
PART_BYTES = 64 * 1024 * 1024


class _Parting(asyncio.Protocol):
    """Takes the place of a connection's protocol: what still comes is heard by nobody."""

    def __init__(self, transport: asyncio.Transport, before: Any) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport = transport
        self._before = before
        self._room = PART_BYTES
        self.heard = True

    def data_received(self, data: bytes) -> None:
        self.heard = True
        self._room -= len(data)
        if self._room < 0:
            self._transport.abort()

    async def until_over(self) -> None:
        """Return when the peer has hung up; ends our side when it says nothing more."""
        while self.heard and not self.over.done():
            self.heard = False
            await asyncio.wait((self.over,), timeout=QUIET_S)
        if not self.over.done() and self._transport.can_write_eof():
            self._transport.write_eof()
        await self.over

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)
        self._before.connection_lost(exc)


async def part(transport: asyncio.Transport) -> None:
    """Read on until the peer hangs up, for a while; then the connection is cut.

    Nothing may be written any more; what was is sent first.
    """
    if transport.is_closing():
        return
    parting = _Parting(transport, transport.get_protocol())
    transport.set_protocol(parting)
    transport.resume_reading()
    try:
        async with asyncio.timeout(PART_S):
            await parting.until_over()
    except (TimeoutError, OSError):
        pass  # it had its time, or has gone
    finally:
        transport.abort()


def code_for(fault: BaseException | None) -> int:
    """What ended the reading, where aiohttp knows no code for it."""
    if isinstance(fault, zlib.error):
        return WSCloseCode.PROTOCOL_ERROR  # what the peer sent as deflate is none
    if fault is None or isinstance(fault, OSError | ClientError):
        return WSCloseCode.OK
    return WSCloseCode.INTERNAL_ERROR  # whoever was handed a message failed at it
