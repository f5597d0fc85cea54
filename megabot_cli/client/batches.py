"""Messages that leave together: up to ten, or what came within a tenth of a second."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.protocol.batching import Batcher, wrap

OnWrite = Callable[[], None]
Write = Callable[[str, OnWrite], Awaitable[None]]


class _Waiting(msgspec.Struct):
    on_write: OnWrite | None
    written: asyncio.Future[None]


class Batches:
    """`send` returns when the batch that holds the message has been written.

    `write` takes a message and what to call just before it leaves. Order is kept.
    """

    def __init__(self, write: Write, *, size: int, delay_s: float, max_bytes: int) -> None:
        self._write = write
        self._batcher = Batcher(size, delay_s, max_bytes)
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = TaskSet()

    async def send(self, text: str, on_write: OnWrite | None = None) -> None:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(on_write, loop.create_future())
        leaving = self._batcher.add(text, loop.time())
        self._waiting.append(waiting)
        if leaving:
            self._leave(leaving)
        self._set_timer()
        await waiting.written

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._batcher.due_at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._batcher.due_at, self._due)

    def _due(self) -> None:
        self._timer = None
        if leaving := self._batcher.flush():
            self._leave(leaving)

    def _leave(self, texts: list[str]) -> None:
        together = [self._waiting.popleft() for _ in texts]
        self._tasks.start(self._write_together(texts, together), "client batch")

    async def _write_together(self, texts: list[str], together: list[_Waiting]) -> None:
        def leaves() -> None:
            for waiting in together:
                if waiting.on_write is not None:
                    waiting.on_write()

        fault: BaseException | None = None
        try:
            await self._write(wrap(texts, new_id("msg"), time.time()), leaves)
        except BaseException as refused:
            fault = refused
            if isinstance(refused, asyncio.CancelledError):
                raise
        finally:
            for waiting in together:
                if not waiting.written.done():
                    _settle(waiting.written, fault)

    async def stop(self) -> None:
        """Nothing leaves any more; whoever waits is cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.stop()
        while self._waiting:
            self._waiting.popleft().written.cancel()


def _settle(written: asyncio.Future[None], fault: BaseException | None) -> None:
    if fault is None:
        written.set_result(None)
    elif isinstance(fault, asyncio.CancelledError):
        written.cancel()
    else:
        written.set_exception(fault)
