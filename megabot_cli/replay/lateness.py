"""How late the messages of a replay left."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


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

    def summary(self) -> LatenessSummary:
        return summary_of(self.values_ms())


class LatenessSummary(msgspec.Struct, frozen=True):
    """Milliseconds between when messages were due and when they left."""

    p50_ms: float = 0.0
    p95_ms: float = 0.0
    max_ms: float = 0.0


def summary_of(values_ms: Sequence[float]) -> LatenessSummary:
    ordered = sorted(values_ms)
    return LatenessSummary(
        p50_ms=percentile(ordered, 0.50),
        p95_ms=percentile(ordered, 0.95),
        max_ms=percentile(ordered, 1.0),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    place = max(0, -(-len(ordered) * share // 1) - 1)
    return ordered[min(len(ordered) - 1, int(place))]
