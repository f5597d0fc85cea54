"""When recorded clients came and went, and when that is in a replay."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import msgspec


class Recorded(msgspec.Struct):
    """When each client came and went, in microseconds of the recording; one that came back
    counts from its first coming to its last going."""

    opened: dict[str, int] = {}
    closed: dict[str, int] = {}

    def take(self, kind: str, client: str, t: int) -> None:
        if kind == "open":
            self.opened.setdefault(client, t)
            self.closed.pop(client, None)
        else:
            self.closed[client] = t


class Course:
    """How a replay goes through a recording: each message was sent at one of `times_us` and is
    due at one of `offsets`, in seconds of the replay's own time."""

    def __init__(self, times_us: Sequence[int], offsets: Sequence[float]) -> None:
        self._times_us = list(accumulate(times_us, max))
        self._offsets = offsets

    def position(self, t: int) -> float:
        """Where another moment of the recording is: a pause that was cut is cut evenly."""
        times_us, offsets = self._times_us, self._offsets
        place = bisect_left(times_us, t)
        if place == 0:
            return offsets[0]
        before = times_us[place - 1]
        if place == len(times_us):
            return offsets[-1] + (t - before) / 1e6
        share = (t - before) / (times_us[place] - before)
        return offsets[place - 1] + share * (offsets[place] - offsets[place - 1])
