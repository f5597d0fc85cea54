"""When each message of a replay is due: computed from offsets, never a sum of sleeps."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


def capped_offsets_s(times_us: Sequence[int], max_gap_s: float | None) -> list[float]:
    """Seconds after the first of `times_us`, with no pause longer than `max_gap_s`.

    The cap is about recorded time: who also changes the speed divides what comes out here.
    """
    offsets = []
    offset = 0.0
    before = times_us[0] if times_us else 0
    for at in times_us:
        gap_s = max(0, at - before) / 1e6
        offset += gap_s if max_gap_s is None else min(gap_s, max_gap_s)
        offsets.append(offset)
        before = max(before, at)
    return offsets


class Lateness:
    """How late messages left, in seconds. One that is early counts as in time."""

    def __init__(self) -> None:
        self._late_s: list[float] = []

    def note(self, due: float, at: float) -> float:
        late_s = max(0.0, at - due)
        self._late_s.append(late_s)
        return late_s

    def summary(self) -> LatenessSummary:
        ordered = sorted(self._late_s)
        return LatenessSummary(
            p50_ms=percentile(ordered, 0.50) * 1000,
            p95_ms=percentile(ordered, 0.95) * 1000,
            max_ms=percentile(ordered, 1.0) * 1000,
        )


class LatenessSummary(msgspec.Struct, frozen=True):
    """Milliseconds between when messages were due and when they left."""

    p50_ms: float = 0.0
    p95_ms: float = 0.0
    max_ms: float = 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    place = max(0, -(-len(ordered) * share // 1) - 1)
    return ordered[min(len(ordered) - 1, int(place))]
