"""Find out which connections are dead, by ping, for all of one profile in a few ticks.

A timer for each connection, pushed back by everything that arrives, costs more than the
message that pushes it. Here a message leaves a flag, and a slice of all connections is
looked at on each tick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

SLICES = 5  # so that ten thousand idle connections are not pinged in one turn of the loop
QUIET_LOOKS = 5  # looks that make one heartbeat: then it is pinged
SILENT_LOOKS = 7  # and so many mean that no pong came


class Heard(Protocol):
    """A socket that notes when bytes arrive: whoever looks sets `heard` back."""

    heard: bool


class Pulse:
    """One connection that is looked after. `ping` and `give_up` are called by the heartbeat."""

    __slots__ = ("give_up", "ping", "quiet", "socket")

    def __init__(
        self, socket: Heard, ping: Callable[[], None], give_up: Callable[[], None]
    ) -> None:
        self.socket = socket
        self.ping = ping
        self.give_up = give_up
        self.quiet = 0  # looks in a row at which nothing had been heard


class Heartbeat:
    """Pings connections that were quiet for `every_s`, gives up those that stay silent.

    A pong is awaited for two fifths of that: with 25 s, as is usual, for 10 s. When the
    event loop itself was held up, nobody is judged by that time: their pongs lie unread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, every_s: float) -> None:
        self._loop = loop
        self._tick_s = every_s / QUIET_LOOKS / SLICES
        self._late_s = max(self._tick_s, every_s / QUIET_LOOKS / 2)
        self._slices: list[set[Pulse]] = [set() for _ in range(SLICES)]
        self._next_slice = 0
        self._place: dict[Pulse, int] = {}
        self._forgiving = 0  # ticks in which nobody is judged
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    def watch(self, socket: Heard, ping: Callable[[], None], give_up: Callable[[], None]) -> Pulse:
        """Look after a connection until `forget`."""
        pulse = Pulse(socket, ping, give_up)
        place = min(range(SLICES), key=lambda number: len(self._slices[number]))
        self._slices[place].add(pulse)
        self._place[pulse] = place
        if self._timer is None:
            self._wait()
        return pulse

    def forget(self, pulse: Pulse) -> None:
        """The connection is gone, or somebody else's affair."""
        place = self._place.pop(pulse, None)
        if place is not None:
            self._slices[place].discard(pulse)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._due_at = self._loop.time() + self._tick_s
        self._timer = self._loop.call_at(self._due_at, self._tick)

    def _tick(self) -> None:
        if self._loop.time() - self._due_at > self._late_s:
            self._forgiving = 2 * SLICES
        for pulse in list(self._slices[self._next_slice]):
            self._look(pulse)
        self._next_slice = (self._next_slice + 1) % SLICES
        if self._forgiving:
            self._forgiving -= 1
        self._timer = None
        if self._place:
            self._wait()

    def _look(self, pulse: Pulse) -> None:
        if pulse.socket.heard:
            pulse.socket.heard = False
            pulse.quiet = 0
            return
        if self._forgiving:
            return
        pulse.quiet += 1
        if pulse.quiet == QUIET_LOOKS:
            pulse.ping()
        elif pulse.quiet >= SILENT_LOOKS:
            self.forget(pulse)
            pulse.give_up()
