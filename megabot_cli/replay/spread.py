"""Many values in little memory: how they are spread."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Final

_MOST: Final = 100_000


class Spread:
    """How values are spread. Count, mean and greatest are of all of them; percentiles are too,
    up to `most` values, and beyond that of at least about half as many, each of which was taken
    by chance with the same likelihood: a half, a quarter …"""

    def __init__(self, values: Iterable[float] = (), *, most: int = _MOST) -> None:
        self.count = 0
        self.greatest = 0.0
        self._sum = 0.0
        self._most = most
        self._kept = array("d")
        self._halvings = 0
        self._chance = random.Random(0)  # noqa: S311  the same choice each time
        self.extend(values)

    def extend(self, values: Iterable[float]) -> None:
        values = values if isinstance(values, Sequence) else list(values)
        if not values:
            return
        self.greatest = max(values) if not self.count else max(self.greatest, max(values))
        self.count += len(values)
        self._sum += sum(values)
        self._kept.extend(self._some_of(values, self._halvings))
        while len(self._kept) > self._most:
            self._kept = array("d", self._some_of(self._kept, 1))
            self._halvings += 1

    def _some_of(self, values: Sequence[float], halvings: int) -> Sequence[float]:
        """Each with the likelihood that so many halvings leave: a byte of chance for each is
        enough for eight of them."""
        while halvings:
            step = min(halvings, 8)
            taken = bytes(byte < 256 >> step for byte in range(256))
            chance = self._chance.randbytes(len(values)).translate(taken)
            values = list(compress(values, chance))
            halvings -= step
        return values

    def copy(self) -> Spread:
        other = Spread(most=self._most)
        other.count, other.greatest, other._sum = self.count, self.greatest, self._sum
        other._kept, other._halvings = self._kept[:], self._halvings
        other._chance.setstate(self._chance.getstate())
        return other

    @property
    def mean(self) -> float:
        return self._sum / self.count if self.count else 0.0

    def percentiles(self, *shares: float) -> list[float]:
        """The smallest value each, that at least such a share does not exceed; 0 of none."""
        ordered = sorted(self._kept)
        return [self.greatest if share >= 1 else percentile(ordered, share) for share in shares]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    place = max(0, -(-len(ordered) * share // 1) - 1)
    return ordered[min(len(ordered) - 1, int(place))]
