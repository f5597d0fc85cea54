"""How far long work has come: a bar on stderr, only where a person looks at it."""

from __future__ import annotations

import time
from collections.abc import Callable

from megabot_cli.terminal.console import Console
from megabot_cli.terminal.live_line import LiveLine
from megabot_cli.terminal.text import display_width, fit

REDRAW_S = 0.1  # more often is a flicker, not news
_LATE_S = 1.0
_MIB = 1024 * 1024
_BAR_WIDTH = 24
_SHORTEST_BAR = 6


class Progress(LiveLine):
    """A bar with rate and time left; without a `total` it only counts.

    Use as a context manager: the bar is gone when the work is. Draws nothing unless stderr
    is a terminal. `clock` gives seconds that never go back; the work began at `started_at`, or now.
    """

    def __init__(
        self,
        console: Console,
        label: str,
        total: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        started_at: float | None = None,
    ) -> None:
        super().__init__(console)
        self._label = label
        self._total = total
        self._clock = clock
        self._done = 0
        self._remark = ""
        self._left_s: float | None = None
        self._guesses = True
        self._started_at = clock() if started_at is None else started_at
        self._drawn_at: float | None = None

    def reach(
        self,
        done: int,
        remark: str = "",
        *,
        total: int | None = None,
        left_s: float | None = None,
        guesses: bool = True,
    ) -> None:
        """Say that `done` of the work is done; `remark` stands behind the bar.

        `left_s` is the time left where somebody knows it; else it is guessed from the rate,
        unless nobody can (`guesses`).
        """
        self._done, self._remark, self._left_s = done, remark, left_s
        self._guesses = guesses
        if total is not None:
            self._total = total
        now = self._clock()
        if self._active and (self._drawn_at is None or now - self._drawn_at >= REDRAW_S):
            self._drawn_at = now
            self.show()

    def advance(self, by: int = 1, remark: str = "") -> None:
        self.reach(self._done + by, remark)

    def show(self) -> None:
        if self._drawn_at is not None:
            self._draw(fit(self.text(self._columns), self._columns))

    def text(self, columns: int | None = None) -> str:
        """The bar as one line: label, share, count, rate, time left, remark. Where that is too
        long for the columns there are, the bar itself is shorter, then the rate left out."""
        elapsed = max(self._clock() - self._started_at, 1e-9)
        rate = self._done / elapsed
        if not self._total:
            parts = [self._label, str(self._done), f"{rate:.0f}/s", self._remark]
        else:
            share = min(self._done / self._total, 1.0)
            guessed = (self._total - self._done) / rate if rate > 0 and self._guesses else None
            left = guessed if self._left_s is None else self._left_s
            eta = "" if left is None else f"{format_duration(max(left, 0.0))} left"
            count = f"{self._done}/{self._total}"
            parts = [f"{share:4.0%}", count, f"{rate:.0f}/s", eta, self._remark]
            parts = _fitted(self._label, share, parts, columns)
        return "  ".join(part for part in parts if part)


class LateProgress:
    """A bar for what is over in a moment, as a rule: shown once it has taken a second.

    To be called with what is done and how much there is, in bytes; it is gone when all is done.
    """

    def __init__(
        self, console: Console, label: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._label = label
        self._clock = clock
        self._began_at: float | None = None
        self._bar: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._began_at is None:
            self._began_at = self._clock()
        if self._bar is None and self._clock() - self._began_at >= _LATE_S:
            self._bar = Progress(
                self._console, self._label, clock=self._clock, started_at=self._began_at
            )
            self._bar.__enter__()
        if self._bar is not None:
            self._bar.reach(done // _MIB, total=max(1, total // _MIB))
        if done >= total:
            self._began_at = None
            if self._bar is not None:
                self._bar.__exit__(None, None, None)
                self._bar = None


def _fitted(label: str, share: float, parts: list[str], columns: int | None) -> list[str]:
    """The parts with a bar before them, as far as there is room for it and for the rate."""
    length = _BAR_WIDTH
    if columns is not None:
        taken = sum(display_width(part) + 2 for part in (label, *parts) if part)
        length = min(_BAR_WIDTH, columns - taken)
    if length >= _SHORTEST_BAR:
        filled = round(share * length)
        return [label, "█" * filled + "░" * (length - filled), *parts]
    return [label, *parts[:2], *(parts[2:] if length >= -2 else parts[3:])]


def format_duration(seconds: float) -> str:
    """A duration as people say it: `0.8 s`, `12 s`, `3:20`, `1:02:03`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
