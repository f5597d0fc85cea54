"""When to dial again."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Backoff(Protocol):
    """A schedule of attempts, counted from 1."""

    def delay_s(self, attempt: int, chance: float) -> float | None:
        """Seconds to wait before `attempt`, or None to give up. `chance` is within 0..1."""


class Linear(msgspec.Struct, frozen=True):
    """The specification's own: `delay` × attempt, at most `attempts` times."""

    first_s: float = 1.0
    attempts: int = 5

    def delay_s(self, attempt: int, chance: float) -> float | None:
        return None if attempt > self.attempts else self.first_s * attempt


class FullJitter(msgspec.Struct, frozen=True):
    """For ever: anything between nothing and a bound that doubles from `first_s` to `most_s`.

    Many relays that lost the same upstream come back spread out, not in step.
    """

    first_s: float = 0.5
    most_s: float = 30.0

    def delay_s(self, attempt: int, chance: float) -> float | None:
        # Past 2**30 the bound is long since `most_s`; a larger power only overflows.
        bound: float = min(self.most_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return chance * bound
