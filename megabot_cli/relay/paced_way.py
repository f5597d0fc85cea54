"""The way up of a pair under the rate limit: what is too much for it waits, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from megabot_cli.client.wire import client_frame
from megabot_cli.protocol.batching import counts_as
from megabot_cli.protocol.frames import BINARY
from megabot_cli.protocol.limits import TokenBucket
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.way import Way


class PacedWay:
    """Messages for `way`, at the pace of the limits; when too many wait the sender is braked.
    `text` says what of a message, binary or not, can be read: each message in a batch counts."""

    def __init__(self, parts: RelayParts, way: Way, text: Callable[[bytes, bool], bytes]) -> None:
        limits = parts.limits
        self.limited = limits.messages_per_second > 0
        self._loop = parts.loop
        self._numbers = parts.numbers
        self._way = way
        self._text = text
        self._bucket = TokenBucket(limits.messages_per_second, limits.burst, parts.loop.time())
        self._mask = parts.masks.take
        self._queue: deque[tuple[bytes, int]] = deque()  # each with the first byte of its frame
        self._most = max(1, limits.queue)
        self._timer: asyncio.TimerHandle | None = None
        self._nothing_waits = asyncio.Event()
        self._nothing_waits.set()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, data: bytes, first_byte: int) -> None:
        if self._queue or not self._bucket.take(self._loop.time()):
            self._wait(data, first_byte)
        else:
            self._send(data, first_byte)

    def _send(self, data: bytes, first_byte: int) -> None:
        self._bucket.charge(counts_as(self._text(data, first_byte == BINARY)) - 1)
        self._way.add([client_frame(data, self._mask(), first_byte)])

    async def until_nothing_waits(self) -> None:
        await self._nothing_waits.wait()

    def stop(self) -> list[tuple[bytes, bool]]:
        """Send nothing more; returns the messages that are left, and whether each is binary."""
        if self._timer is not None:
            self._timer.cancel()
        left = [(data, first_byte == BINARY) for data, first_byte in self._queue]
        self._queue.clear()
        return left

    def _wait(self, data: bytes, first_byte: int) -> None:
        self._numbers.rate_limit_waits += 1
        self._nothing_waits.clear()
        self._queue.append((data, first_byte))
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
            self._send(*self._queue.popleft())
        self._way.held = len(self._queue) >= self._most
        if self._queue:
            self._pump_later()
        else:
            self._nothing_waits.set()
