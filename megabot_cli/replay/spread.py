"""Many values in little memory: how they are spread."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

_MOST: Final = 100_000


class Spread:
    """How values are spread. Count, mean and greatest are of all of them; percentiles are too,
    up to `most` values, and beyond that of so many that chance chose, each as likely."""

    def __init__(self, values: Iterable[float] = (), *, most: int = _MOST) -> None:
        self.count = 0
        self.greatest = 0.0
        self._sum = 0.0
        self._most = most
        self._kept = array("d")
        self._chance = random.Random(0)  # noqa: S311  the same choice each time
        self.extend(values)

    def extend(self, values: Iterable[float]) -> None:
        values = values if isinstance(values, Sequence) else list(values)
        if not values:
            return
        if len(self._kept) + len(values) > self._most:
            for value in values:
                self._add(value)
            return
        self.greatest = max(values) if not self.count else max(self.greatest, max(values))
        self.count += len(values)
        self._sum += sum(values)
        self._kept.extend(values)

    def _add(self, value: float) -> None:
        self.count += 1
        self._sum += value
        self.greatest = value if self.count == 1 else max(self.greatest, value)
        if len(self._kept) < self._most:
            self._kept.append(value)
        elif (place := self._chance.randrange(self.count)) < self._most:
            self._kept[place] = value

    def copy(self) -> Spread:
        other = Spread(most=self._most)
        other.count, other.greatest, other._sum = self.count, self.greatest, self._sum
        other._kept = self._kept[:]
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
