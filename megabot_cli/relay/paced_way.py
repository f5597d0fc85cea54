"""The way up of a pair under the rate limit: what is too much for it waits, in order."""

from __future__ import annotations

import asyncio
from collections import deque

from megabot_cli.protocol.limits import TokenBucket
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.way import Way


class PacedWay:
    """Frames for `way`, at the pace of the limits; when too many wait the sender is braked."""

    def __init__(self, parts: RelayParts, way: Way) -> None:
        limits = parts.limits
        self.limited = limits.messages_per_second > 0
        self._loop = parts.loop
        self._numbers = parts.numbers
        self._way = way
        self._bucket = TokenBucket(limits.messages_per_second, limits.burst, parts.loop.time())
        self._queue: deque[bytes] = deque()
        self._most = max(1, limits.queue)
        self._timer: asyncio.TimerHandle | None = None
        self._nothing_waits = asyncio.Event()
        self._nothing_waits.set()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, frame: bytes) -> None:
        if self._queue or not self._bucket.take(self._loop.time()):
            self._wait(frame)
        else:
            self._way.add([frame])

    async def until_nothing_waits(self) -> None:
        await self._nothing_waits.wait()

    def stop(self) -> int:
        """Send nothing more; returns how many frames that leaves behind."""
        if self._timer is not None:
            self._timer.cancel()
        left = len(self._queue)
        self._queue.clear()
        return left

    def _wait(self, frame: bytes) -> None:
        self._numbers.rate_limit_waits += 1
        self._nothing_waits.clear()
        self._queue.append(frame)
        if len(self._queue) >= self._most:
            self._way.held = True
            self._way.brake()
        if self._timer is None:
            self._pump_later()

    def _pump_later(self) -> None:
        self._timer = self._loop.call_later(self._bucket.wait_s(self._loop.time()), self._pump)

    def _pump(self) -> None:
        self._timer = None
        while self._queue and self._bucket.take(self._loop.time()):
            self._way.add([self._queue.popleft()])
        self._way.held = len(self._queue) >= self._most
        if self._queue:
            self._pump_later()
        else:
            self._nothing_waits.set()
