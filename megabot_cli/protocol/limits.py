"""How fast messages may leave."""

from __future__ import annotations

import math

# The sum of many small refills falls short of a whole token by rounding.
_ROUNDING = 1e-9


class TokenBucket:
    """`rate` messages a second on average, `burst` at once. A rate of 0 is no limit.

    Times are seconds on any clock that does not go back; they are handed in.
    """

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = max(burst, 1.0)
        self._tokens = self.burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token and say True, or say False and leave all as it was."""
        if self.rate <= 0:
            return True
        self._refill(now)
        if self._tokens < 1.0 - _ROUNDING:
            return False
        # May fall below nothing by the rounding: clamped, each take would give a little away.
        self._tokens -= 1.0
        return True

    def charge(self, count: int) -> None:
        """What was let pass with one token was so many more: the next waits for them too."""
        self._tokens -= count

    def allow(self, burst: float, now: float) -> None:
        """Another `burst` from now on; what is left of the old one counts."""
        self._refill(now)
        self.burst = max(burst, 1.0)
        self._tokens = min(self._tokens, self.burst)

    def take_all(self, now: float) -> None:
        """Leave no token: the next comes when the rate gives it."""
        self._refill(now)
        self._tokens = min(self._tokens, 0.0)

    def wait_s(self, now: float) -> float:
        """How long until `take` will say True; never so little that `now` would not move."""
        if self.rate <= 0:
            return 0.0
        self._refill(now)
        missing = 1.0 - self._tokens
        if missing <= _ROUNDING:
            return 0.0
        wait = missing / self.rate
        # A clock that has run for long counts in coarse steps: wait for the step after.
        return wait + 2 * math.ulp(now + wait)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
