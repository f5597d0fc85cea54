"""When a replay's messages are due: a clock of its own that can be paused, stepped and sped up.

Named after the keys of a tape recorder. Positions are seconds of the replay's own time; what
passes outside is read from `time.monotonic`, because uvloop's own clock shows milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

from megabot_cli.replay.alarm import Alarm

SLOWEST: Final = 0.1
FASTEST: Final = 1000.0
_STEP_FACTOR: Final = 2.0


class Transport:
    """Lets messages go when their time has come. `close` it in the end: it holds a timer.

    `stopped` once somebody has asked for the end: whoever waits is told at once. `paused`
    messages go one by one, with `step`. `on_change` is called after each change, `on_stop` for
    who waits for something else than a position.
    """

    def __init__(self, speed: float = 1.0, *, paused: bool = False) -> None:
        self.speed = speed
        self.paused = paused
        self.stopped = False
        self.on_change: Callable[[], None] = lambda: None
        self.on_stop: Callable[[], None] = lambda: None
        self._at = time.monotonic()
        self._position = 0.0
        # Who waits: whether it is no message, and the position.
        self._waiting: dict[asyncio.Future[None], tuple[bool, float]] = {}
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []
        self._tie = count()
        self._alarm: Alarm | None = None
        self._steps = 0  # that no message has taken yet

    def close(self) -> None:
        """Give the timer back; who waits longer makes a new one."""
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    @property
    def position(self) -> float:
        """Where in the replay's time we are."""
        if self.paused:
            return self._position
        return self._position + (time.monotonic() - self._at) * self.speed

    def start(self) -> None:
        """Begin now, at position 0; while it is paused, just before that."""
        self._at, self._position = time.monotonic(), -1e-6 if self.paused else 0.0

    async def until(self, position: float, *, is_message: bool = True) -> float | None:
        """Wait until the position is reached; return when that was due. None: it was stopped.

        A step goes on to the next message, and passes what is none. One that comes before a
        message waits is for the next that does.
        """
        while not self.stopped:
            if self.position >= position or self._steps_to(position, is_message=is_message):
                return self._reached_at(position)
            await self._until_moved(position, is_message=is_message)
        return None

    async def turn(self, after_s: float = 0.0) -> bool:
        """Let so much of the replay's time pass, then wait while it is paused; a step ends both,
        also one that was asked for before. False: it was stopped."""
        position = self.position + after_s
        while not self.stopped:
            if (self.position >= position and not self.paused) or self._steps_to(position):
                return True
            await self._until_moved(position)
        return False

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
        self._steps += 1
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
        self.on_stop()
        self._tell()

    def _steps_to(self, position: float, *, is_message: bool = True) -> bool:
        """Go on to this position, if there is a step left and nobody who waits comes before; what
        is no message leaves the step to one."""
        mine = (not is_message, position)
        if not (self.paused and self._steps) or any(each < mine for each in self._waiting.values()):
            return False
        self._steps -= is_message
        self._position = max(self._position, position)
        self._tell()
        return True

    def _reached_at(self, position: float) -> float:
        """When, on the monotonic clock, the position is or was reached."""
        if self.paused:
            return time.monotonic()
        return self._at + (position - self._position) / self.speed

    def _settle(self) -> None:
        """Count from here on: what follows changes how time passes."""
        self._position, self._at = self.position, time.monotonic()

    def _tell(self) -> None:
        self._due.clear()
        for waiting in self._waiting:
            _wake(waiting)
        self.on_change()

    async def _until_moved(self, position: float, *, is_message: bool = True) -> None:
        """Return when the position is reached, or the transport was steered."""
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[moved] = (not is_message, position)
        if not self.paused:
            entry = self._reached_at(position), next(self._tie), moved
            heappush(self._due, entry)
            # Without an alarm, the first may be one that a round before this left behind.
            if self._alarm is None or self._due[0] is entry:
                self._set_alarm()
        try:
            await moved
        finally:
            del self._waiting[moved]

    def _ring(self) -> None:
        """Wake all whose time has come."""
        now = time.monotonic()
        while self._due and (self._due[0][0] <= now or self._due[0][2].done()):
            _wake(heappop(self._due)[2])
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._due:
            self._alarm = self._alarm or Alarm(self._ring)
            self._alarm.set(self._due[0][0])


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
