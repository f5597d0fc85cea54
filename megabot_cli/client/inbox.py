"""Messages that wait for whoever iterates over a client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from megabot_cli.client.received import Received
from megabot_cli.client.reconnect import again
from megabot_cli.errors import MegabotError

MOST_MESSAGES = 10_000
MOST_CHARACTERS = 64 * 1024 * 1024


class Inbox:
    """Keeps messages in order, at most so many: beyond that the oldest go, and are counted.

    Nobody has to read, and the connection never waits for a reader. `on_gap` is told how
    many are missing when a reader comes to the place where they were.
    """

    def __init__(
        self,
        on_gap: Callable[[int], None],
        *,
        messages: int = MOST_MESSAGES,
        characters: int = MOST_CHARACTERS,
    ) -> None:
        self._on_gap = on_gap
        self._most_messages = messages
        self._most_characters = characters
        self._waiting: deque[Received] = deque()
        self._characters = 0
        self._untold = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._fault: MegabotError | None = None
        self.missed = 0

    def put(self, received: Received) -> None:
        self._waiting.append(received)
        self._characters += received.size
        while len(self._waiting) > 1 and self._overfull:
            self._characters -= self._waiting.popleft().size
            self._untold += 1
            self.missed += 1
        self._changed.set()

    @property
    def _overfull(self) -> bool:
        return len(self._waiting) > self._most_messages or self._characters > self._most_characters

    def end(self, fault: MegabotError | None) -> None:
        """Nothing more will come; what waits can still be read, then `fault` is raised."""
        self._ended = True
        self._fault = fault
        self._changed.set()

    async def get(self) -> Received | None:
        """The next message; None when there are no more. Raises what the inbox ended with."""
        if not await self._has_some():
            return None
        received = self._waiting.popleft()
        self._characters -= received.size
        return received

    async def get_all(self) -> list[Received]:
        """All that wait, one at least; none when there are no more. Raises as `get`."""
        if not await self._has_some():
            return []
        waiting, self._waiting = list(self._waiting), deque()
        self._characters = 0
        return waiting

    async def _has_some(self) -> bool:
        """Wait until something waits. False: nothing more will come."""
        while not self._waiting:
            if self._fault is not None:
                raise again(self._fault)
            if self._ended:
                return False
            self._changed.clear()
            await self._changed.wait()
        if self._untold:
            untold, self._untold = self._untold, 0
            self._on_gap(untold)
        return True

    def __aiter__(self) -> AsyncIterator[Received]:
        return self

    async def __anext__(self) -> Received:
        received = await self.get()
        if received is None:
            raise StopAsyncIteration
        return received
