"""Write messages one after another, within the rate limit, to whichever connection is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiohttp

from megabot_cli.client.corking import corked
from megabot_cli.client.dial import Socket
from megabot_cli.client.masks import MaskSource
from megabot_cli.client.reconnect import again
from megabot_cli.client.wire_form import WireForm
from megabot_cli.errors import ConnectionLost, MegabotError, RateLimited
from megabot_cli.protocol.frames import BINARY, TEXT
from megabot_cli.protocol.limits import TokenBucket
from megabot_cli.wording import counted

# aiohttp says with these words that it refused to write, so nothing has left.
_NOT_WRITTEN = "closing transport"

# What was sent, and where that is one message, the bytes it travelled as and whether binary.
OnSent = Callable[[Sequence[str | bytes], tuple[bytes, bool] | None], None]


class Sender:
    """First come, first served. While no connection is up, whoever sends waits."""

    def __init__(
        self,
        bucket: TokenBucket,
        queue: int,
        form: WireForm,
        on_sent: OnSent = lambda _texts, _form: None,
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
        self._masks: MaskSource | None = None

    @property
    def rate_limited(self) -> bool:
        return self._bucket.rate > 0

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
        self._check_queue()
        self._senders += 1
        try:
            async with self._turn:
                await self._wait_for_rate()
                await self._write(data, opcode, on_write)
            self._on_sent((text,), (data, opcode is aiohttp.WSMsgType.BINARY))
        finally:
            self._senders -= 1

    async def send_pack(
        self, texts: Sequence[str | bytes], on_write: Callable[[int], None]
    ) -> None:
        """As `send`, of one after the other with nobody in between; `on_write` hears just before
        how many leave. Where neither rate limit nor form forbids it they leave in one write, and
        the other side is woken once.
        """
        self._check_queue()
        self._senders += 1
        try:
            async with self._turn:
                if self.rate_limited:
                    await self._write_each(texts, on_write)
                elif not await self._write_together(texts, on_write):
                    with corked(self._socket):
                        await self._write_each(texts, on_write)
        finally:
            self._senders -= 1

    async def _write_each(
        self, texts: Sequence[str | bytes], on_write: Callable[[int], None]
    ) -> None:
        for text in texts:
            data, opcode = self._form.outgoing(text)
            await self._wait_for_rate()
            await self._write(data, opcode, lambda: on_write(1))
            self._on_sent((text,), (data, opcode is aiohttp.WSMsgType.BINARY))

    async def _write_together(
        self, texts: Sequence[str | bytes], on_write: Callable[[int], None]
    ) -> bool:
        """Write frames of our own past aiohttp's writer. False: these are not to be, and nothing
        has left."""
        from megabot_cli.client import wire  # most clients write as aiohttp means it

        socket = await self._live_socket()
        transport = wire.upstream_transport(socket)
        deflates = bool(socket.compress)
        if transport is None or deflates or not self._form.leaves_texts_alone:
            return False
        try:
            messages = [
                (text.encode(), TEXT) if isinstance(text, str) else (text, BINARY) for text in texts
            ]
        except UnicodeEncodeError:
            return False
        if transport.is_closing():
            return False
        if self._masks is None:
            self._masks = MaskSource()
        on_write(len(texts))
        transport.write(wire.client_frames(messages, self._masks))
        self._on_sent(texts, None)
        try:
            await wire.room_for_more(socket)
        except (aiohttp.ClientError, ConnectionError):
            raise _fallen() from None
        return True

    def _check_queue(self) -> None:
        # The first of them has its turn; the others wait.
        if self._queue and self._senders > self._queue:
            raise RateLimited(
                f"{counted(self._senders - 1, 'message')} must wait already", "Send more slowly."
            )

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
                raise _fallen() from None
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


def _fallen() -> ConnectionLost:
    return ConnectionLost(
        "The connection fell while a message was being sent", "It may have arrived or not."
    )
