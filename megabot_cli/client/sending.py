"""Write messages one after another, within the rate limit, to whichever connection is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import aiohttp

from megabot_cli.client.corking import corked
from megabot_cli.client.dial import Socket
from megabot_cli.client.reconnect import again
from megabot_cli.client.wire_form import WireForm
from megabot_cli.errors import ConnectionLost, MegabotError, RateLimited
from megabot_cli.protocol.limits import TokenBucket
from megabot_cli.wording import counted

# aiohttp says with these words that it refused to write, so nothing has left.
_NOT_WRITTEN = "closing transport"


class Sender:
    """First come, first served. While no connection is up, whoever sends waits."""

    def __init__(
        self,
        bucket: TokenBucket,
        queue: int,
        form: WireForm,
        on_sent: Callable[[str | bytes], None] = lambda _: None,
    ) -> None:
        self._on_sent = on_sent
        self._bucket = bucket
        self._form = form
        self._queue = queue
        self._senders = 0
        self._turn = asyncio.Lock()
        self._socket: Socket | None = None
        self._up = asyncio.Event()
        self._over: MegabotError | None = None

    def came_up(self, socket: Socket) -> None:
        self._socket = socket
        self._up.set()

    def went_down(self) -> None:
        self._socket = None
        self._up.clear()

    def give_up(self, error: MegabotError) -> None:
        """No connection will come up any more: all who wait and will come get `error`."""
        self._socket = None
        self._over = error
        self._up.set()

    async def send(self, text: str | bytes, on_write: Callable[[], None] | None = None) -> None:
        """Write `text` (bytes: a binary message); returns when it has left for the system.

        `on_write` is called just before. Raises RateLimited when `queue` others wait
        already, ConnectionLost when the connection falls while it is being written: then
        nobody knows whether it arrived, and it is not sent twice.
        """
        data, opcode = self._form.outgoing(text)
        # The first of them has its turn; the others wait.
        if self._queue and self._senders > self._queue:
            raise RateLimited(
                f"{counted(self._senders - 1, 'message')} must wait already", "Send more slowly."
            )
        self._senders += 1
        try:
            async with self._turn:
                await self._wait_for_rate()
                await self._write(data, opcode, on_write)
            self._on_sent(text)
        finally:
            self._senders -= 1

    async def send_all(
        self, texts: Iterable[str | bytes], on_write: Callable[[], None] | None = None
    ) -> None:
        """As `send`, of one after the other with nobody in between.

        Each is asked for when the one before has left. Where no rate limit spreads them they
        travel together, and the other side is woken once.
        """
        if self._queue and self._senders > self._queue:
            raise RateLimited(
                f"{counted(self._senders - 1, 'message')} must wait already", "Send more slowly."
            )
        self._senders += 1
        limited = self._bucket.rate > 0
        try:
            async with self._turn:
                with corked(None if limited else self._socket):
                    for text in texts:
                        data, opcode = self._form.outgoing(text)
                        if limited:
                            await self._wait_for_rate()
                        await self._write(data, opcode, on_write)
                        self._on_sent(text)
        finally:
            self._senders -= 1

    async def _wait_for_rate(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._bucket.take(loop.time()):  # noqa: ASYNC110  time is what we wait for
            await asyncio.sleep(self._bucket.wait_s(loop.time()))

    async def _write(
        self, data: bytes, opcode: aiohttp.WSMsgType, on_write: Callable[[], None] | None
    ) -> None:
        while True:
            socket = await self._live_socket()
            if on_write is not None:
                on_write()
            try:
                await socket.send_frame(data, opcode)
            except (aiohttp.ClientError, ConnectionError) as fault:
                if self._socket is socket:
                    self.went_down()  # the reader learns of it in a moment
                if _NOT_WRITTEN in str(fault):
                    continue
                raise ConnectionLost(
                    "The connection fell while a message was being sent",
                    "It may have arrived or not.",
                ) from None
            return

    async def _live_socket(self) -> Socket:
        while True:
            await self._up.wait()
            if self._over is not None:
                raise again(self._over)
            socket = self._socket
            if socket is not None and not socket.closed:
                return socket
            self.went_down()
