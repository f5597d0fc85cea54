"""How late the event loop is: a timer that looks at the clock when it comes."""

from __future__ import annotations

import asyncio

from megabot_cli.telemetry.metrics import Histogram

EVERY_S = 0.5
_MOST_MISSED = 7200  # an hour's: nobody asks about a longer time


class LoopLag:
    """Observes the lateness of its own timer. It wakes twice a second, for whatever passes.

    A look that was missed was late as well. Were it left out, a loop that stands still for ten
    seconds of each minute would be late once in a hundred looks, and no quantile would show it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, lag_s: Histogram) -> None:
        self._loop = loop
        self._lag_s = lag_s
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due = self._loop.time() + EVERY_S
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        late_s = max(0.0, self._loop.time() - self._due)
        missed = min(int(late_s / EVERY_S), _MOST_MISSED)
        for place in range(missed + 1):
            self._lag_s.observe(late_s - place * EVERY_S)
        self.start()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
