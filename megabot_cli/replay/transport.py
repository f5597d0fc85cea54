"""When a replay's messages are due: a clock of its own that can be paused, stepped and sped up.

Named after the keys of a tape recorder. Positions are seconds of the replay's own time; the
event loop's time comes in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

SLOWEST: Final = 0.1
FASTEST: Final = 1000.0
_STEP_FACTOR: Final = 2.0


class Transport:
    """Lets messages go when their time has come.

    `stopped` once somebody has asked for the end: whoever waits is told at once. `paused`
    messages go one by one, with `step`. `on_change` is called after each change.
    """

    def __init__(self, now: Callable[[], float], speed: float = 1.0, *, paused: bool = False):
        self._now = now
        self.speed = speed
        self.paused = paused
        self.stopped = False
        self.on_change: Callable[[], None] = lambda: None
        self._at = now()
        self._position = 0.0
        self._waiting: list[float] = []
        self._steps = 0
        self._changed = asyncio.Event()

    @property
    def position(self) -> float:
        """Where in the replay's time we are."""
        if self.paused:
            return self._position
        return self._position + (self._now() - self._at) * self.speed

    def start(self) -> None:
        """Begin now, at position 0; while it is paused, just before that."""
        self._at, self._position = self._now(), -1e-6 if self.paused else 0.0

    async def until(self, position: float) -> float | None:
        """Wait until the position is reached; return when that was due. None: it was stopped."""
        self._waiting.append(position)
        try:
            while not self.stopped:
                if self.position >= position:
                    return self._due(position)
                left_s = None if self.paused else (position - self.position) / self.speed
                await self._change_within(left_s)
            return None
        finally:
            self._waiting.remove(position)

    async def turn(self) -> bool:
        """Wait while it is paused, for a step at most. False: it was stopped."""
        while not self.stopped:
            if not self.paused:
                return True
            if self._steps:
                self._steps -= 1
                return True
            await self._change_within(None)
        return False

    async def sleep(self, seconds: float) -> bool:
        """Let so much of the replay's time pass. False: it was stopped."""
        return await self.until(self.position + seconds) is not None

    def pause(self) -> None:
        if not self.paused:
            self._settle()
            self.paused = True
            self._tell()

    def resume(self) -> None:
        if self.paused:
            self._settle()
            self.paused = False
            self._steps = 0
            self._tell()

    def step(self) -> None:
        """Pause, and let the next message go."""
        self.pause()
        if self._waiting:
            self._position = max(self._position, min(self._waiting))
        else:
            self._steps = 1
        self._tell()

    def set_speed(self, speed: float) -> None:
        """Go on so many times as quickly as recorded; within 0.1 and 1000."""
        self._settle()
        self.speed = min(max(speed, SLOWEST), FASTEST)
        self._tell()

    def faster(self) -> None:
        self.set_speed(self.speed * _STEP_FACTOR)

    def slower(self) -> None:
        self.set_speed(self.speed / _STEP_FACTOR)

    def stop(self) -> None:
        self.stopped = True
        self._tell()

    def _due(self, position: float) -> float:
        """When, on the loop's clock, the position was reached."""
        if self.paused:
            return self._now()
        return self._at + (position - self._position) / self.speed

    def _settle(self) -> None:
        """Count from here on: what follows changes how time passes."""
        self._position, self._at = self.position, self._now()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self.on_change()

    async def _change_within(self, seconds: float | None) -> None:
        changed = self._changed
        if seconds is None:
            await changed.wait()
            return
        waiting = asyncio.ensure_future(changed.wait())
        try:
            await asyncio.wait((waiting,), timeout=max(0.0, seconds))
        finally:
            waiting.cancel()
