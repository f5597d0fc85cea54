"""How late the messages of a replay left."""

from __future__ import annotations

from typing import Final

import msgspec

from megabot_cli.replay.spread import Spread

# Less than that is what it takes to write a message, and a timer to be heard.
LATE_MS: Final = 1.0


class Lateness:
    """How late messages left, in seconds. One that is early counts as in time."""

    def __init__(self) -> None:
        self._late_s: list[float] = []

    def note(self, due: float, at: float) -> float:
        late_s = max(0.0, at - due)
        self._late_s.append(late_s)
        return late_s

    def values_ms(self) -> list[float]:
        return [late_s * 1000 for late_s in self._late_s]

    def late(self) -> int:
        """How many left late."""
        return sum(late_s * 1000 > LATE_MS for late_s in self._late_s)


class LatenessSummary(msgspec.Struct, frozen=True):
    """Milliseconds between when messages were due and when they left, how many of them left
    late, by more than `LATE_MS`, and of how many time decided when they were due."""

    p50_ms: float = 0.0
    p95_ms: float = 0.0
    max_ms: float = 0.0
    late: int = 0
    timed: int = 0


def summary_of(spread: Spread, late: int) -> LatenessSummary:
    p50_ms, p95_ms, max_ms = spread.percentiles(0.50, 0.95, 1.0)
    return LatenessSummary(p50_ms, p95_ms, max_ms, late, spread.count)
