"""When what was recorded is due again: computed from offsets, never a sum of sleeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


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


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How quickly recorded replies come.

    `original` keeps the recorded pauses, cut to `max_gap_s` first and divided by `speed`;
    `fast` has none; `fixed` puts `per_s` messages into a second.
    """

    pace: Literal["original", "fast", "fixed"] = "original"
    speed: Annotated[float, Meta(ge=0.1, le=1000)] = 1.0
    max_gap_s: float | None = None
    per_s: float = 1.0

    def due_s(self, start_us: int, times_us: Sequence[int]) -> list[float]:
        """Seconds after what was recorded at `start_us`, for each of `times_us`."""
        if self.pace == "fast":
            return [0.0] * len(times_us)
        if self.pace == "fixed":
            return [place / self.per_s for place in range(len(times_us))]
        offsets = capped_offsets_s([start_us, *times_us], self.max_gap_s)
        return [offset / self.speed for offset in offsets[1:]]
