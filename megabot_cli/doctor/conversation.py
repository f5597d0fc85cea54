"""One connection to the upstream, spoken to by hand: pings are seen, nothing is dialled again."""

from __future__ import annotations

import asyncio
import secrets
import socket as sockets
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from megabot_cli.client.dial import Greeting, Socket, hang_up
from megabot_cli.client.received import Received
from megabot_cli.client.refusals import clean
from megabot_cli.client.wire_form import WireForm
from megabot_cli.errors import ConnectionLost, MegabotError
from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.compression import Overlong
from megabot_cli.protocol.envelope import peek

# A peer that breaks the protocol, or is gone, while we write.
_BROKEN = (aiohttp.ClientError, ConnectionError, UnicodeDecodeError)


class Conversation:
    """An open connection and what was heard on it."""

    def __init__(self, socket: Socket, greeting: Greeting, form: WireForm) -> None:
        self.socket = socket
        self.greeting = greeting
        self._form = form
        self._pongs: list[bytes] = []
        self.link_is_down: str | None = None  # in a relay's words, while it says so

    @property
    def deflates(self) -> bool:
        """Whether both agreed on permessage-deflate."""
        return self.socket.compress > 0

    async def ping(self, limit_s: float) -> float:
        """Seconds until the pong. ConnectionLost when there is none in time."""
        payload = secrets.token_bytes(8)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                await self.socket.ping(payload)
                while payload not in self._pongs:
                    self._note_link(await self._next())
        except TimeoutError:
            raise ConnectionLost(
                f"No pong within {limit_s:g} s",
                "Something between here and the upstream swallows pings: the relay would take "
                "the line for dead.",
            ) from None
        except _BROKEN:
            raise _hung_up(None) from None
        return time.perf_counter() - began

    async def send(self, text: str | bytes) -> None:
        data, opcode = self._form.outgoing(text)
        try:
            await self.socket.send_frame(data, opcode)
        except _BROKEN:
            raise _hung_up(None) from None

    async def hear(self, wanted: Callable[[Received], bool], limit_s: float) -> Received | None:
        """The first message that is wanted, those in a batch included; None if none comes in time.

        Raises ConnectionLost when the upstream hangs up instead.
        """
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    for each in await self._next():
                        if wanted(each):
                            return each
        except TimeoutError:
            return None
        except _BROKEN:
            raise _hung_up(None) from None

    async def _next(self) -> list[Received]:
        """What one frame brings: messages, or none."""
        kind, data, _ = await self.socket.receive()
        match kind:
            case aiohttp.WSMsgType.PONG:
                self._pongs.append(bytes(data))
            case aiohttp.WSMsgType.PING:
                await self.socket.pong(data)
            case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                try:
                    received = self._form.incoming(kind, data)
                except Overlong:
                    raise _hung_up(CloseCode.TOO_BIG) from None
                return _unwrapped(received) if received is not None else []
            case _:
                raise _hung_up(self.socket.close_code)
        return []

    def _note_link(self, heard: list[Received]) -> None:
        """A relay says right after its greeting that its link is down."""
        for each in heard:
            if each.head is not None and each.head.type == "status_update":
                payload = each.payload()
                told = payload if isinstance(payload, dict) else {}
                down = told.get("status") == "reconnecting"
                self.link_is_down = clean(str(told.get("message"))) if down else None

    def cut(self) -> None:
        """Break the line without a word, as a lost network does."""
        line: Any = self.socket.get_extra_info("socket")
        if line is not None:
            try:
                line.shutdown(sockets.SHUT_RDWR)
            except OSError:
                return  # it is broken already

    async def end(self) -> None:
        await hang_up(self.socket)


def _unwrapped(received: Received) -> list[Received]:
    if received.head is None or received.head.type != "batch":
        return [received]
    return [Received(text, peek(text), received.at) for text in unwrap(received.text)]


def _hung_up(code: int | None) -> MegabotError:
    said = f" with close code {code}" if code else ""
    return ConnectionLost(f"The upstream hung up{said}", close_code=code)
