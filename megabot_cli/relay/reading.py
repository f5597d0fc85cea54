"""Read a socket to its end: straight from the parser, or message by message under pressure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aiohttp
import msgspec
import structlog

from megabot_cli.client.refusals import clean
from megabot_cli.client.wire import Sink, Socket, deliver_to
from megabot_cli.protocol.close_codes import MEANING, NO_CODE
from megabot_cli.relay.witness import Witness

Log = structlog.stdlib.BoundLogger

LOST = 1006

_MESSAGES = frozenset({aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY})


class Goodbye(msgspec.Struct, frozen=True):
    """With which code a socket was closed, and in which words, if any."""

    code: int = LOST
    reason: str | None = None

    @property
    def meaning(self) -> str:
        return MEANING.get(self.code, f"code {self.code}")

    def told(self, secrets: Iterable[str]) -> str:
        """For people: what the code means, and what else was said, without our secrets."""
        words = self.reason or ""
        for secret in secrets:
            words = words.replace(secret, "[secret]")
        words = clean(words)
        return f"{self.meaning} ({self.code}{f': {words}' if words else ''})"


async def read_all(socket: Socket, take: Sink, witness: Witness, log: Log) -> Goodbye:
    """Hand every message of `socket` to `take`, in order; returns what it was closed with. `log`
    is whose socket it is.

    Only the recorder may ask for patience, never a client: then messages stay in aiohttp's
    queue, which stops reading from the network when it is full. The code is 1005 for a close
    without one and 1006 for a line that was cut (aiohttp's own `close_code` says 1000 then).
    """

    recorder = witness.recorder

    def take_and_look(batch: list[bytes], binary: bool, whole: bytes | None = None, /) -> None:
        take(batch, binary, whole)
        if recorder is not None and recorder.must_wait:
            deliver_to(socket, None)

    sink = take if recorder is None else take_and_look
    try:
        while True:
            deliver_to(socket, sink)
            message = await socket.receive()
            if message.type not in _MESSAGES:
                return _goodbye(message, log)
            try:
                take([message.data], message.type is aiohttp.WSMsgType.BINARY)
            except aiohttp.WebSocketError as fault:
                await socket.close(code=fault.code, message=str(fault).encode())
                return Goodbye(int(fault.code), str(fault))
            if witness.must_wait:
                await witness.caught_up()
    finally:
        deliver_to(socket, None)


def tell_broken(log: Log, fault: BaseException, by: str | None = None) -> None:
    """Log how a peer broke the protocol, or why nothing more can be read from it; `by` which of
    two, where `log` names both."""
    code = int(getattr(fault, "code", LOST))
    log.warning("socket.broken", fault=str(fault) or type(fault).__name__, code=code, by=by)


def _goodbye(message: Any, log: Log) -> Goodbye:
    if message.type is aiohttp.WSMsgType.CLOSE:
        return Goodbye(int(message.data) or NO_CODE, message.extra or None)
    if message.type is aiohttp.WSMsgType.ERROR:
        tell_broken(log, message.data)
        code = int(getattr(message.data, "code", LOST))
        return Goodbye(code, str(message.data) if code != LOST else None)
    return Goodbye()
