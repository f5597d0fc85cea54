"""How late the event loop is: a timer that looks at the clock when it comes."""

from __future__ import annotations

import asyncio

from megabot_cli.telemetry.metrics import Histogram

EVERY_S = 0.5


class LoopLag:
    """Observes the lateness of its own timer. It wakes twice a second, for whatever passes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lag_s: Histogram) -> None:
        self._loop = loop
        self._lag_s = lag_s
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due = self._loop.time() + EVERY_S
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._lag_s.observe(max(0.0, self._loop.time() - self._due))
        self.start()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
