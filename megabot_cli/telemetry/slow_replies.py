"""The slowest replies of the last minute: a few, whatever passes."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

KEPT: Final = 5  # of each slice, and shown
SLICE_S: Final = 10.0
_SLICES: Final = 6  # that are over, beside the one under way


class SlowReply(msgspec.Struct, frozen=True):
    """A request and what its reply took, in seconds; `at` it came, on the event loop's clock."""

    took_s: float
    at: float
    kind: str  # of the request
    id: str
    client: str
    session: str | None


class SlowReplies:
    """Exactly the slowest `KEPT` of the last 60 s and up to `SLICE_S` more.

    Whoever measures asks `may_be_one` of the longest that a read brought, and names a reply only
    where it is: after the first few of a slice that is seldom.
    """

    def __init__(self) -> None:
        self._slices: deque[tuple[float, list[SlowReply]]] = deque(maxlen=_SLICES + 1)
        self._over_at = 0.0
        self._least_s = -1.0  # of those that are kept of the slice under way, once it is full

    def may_be_one(self, took_s: float, now: float) -> bool:
        return took_s > self._least_s or now >= self._over_at

    def add(self, reply: SlowReply) -> None:
        """Keep it if it is among the slowest."""
        if reply.at >= self._over_at:
            self._over_at = reply.at + SLICE_S
            self._least_s = -1.0
            self._slices.append((reply.at, []))
        kept = self._slices[-1][1]
        kept.append(reply)
        kept.sort(key=_took, reverse=True)
        del kept[KEPT:]
        if len(kept) == KEPT:
            self._least_s = kept[-1].took_s

    def slowest(self, now: float) -> list[SlowReply]:
        """The slowest first."""
        since = now - (_SLICES + 1) * SLICE_S
        recent = [each for begun_at, kept in self._slices if begun_at >= since for each in kept]
        return sorted(recent, key=_took, reverse=True)[:KEPT]


def _took(reply: SlowReply) -> float:
    return reply.took_s
