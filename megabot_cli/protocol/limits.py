"""How fast messages may leave."""

from __future__ import annotations


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
        # The sum of many small refills may fall short of a whole token by a rounding error.
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens = max(0.0, self._tokens - 1.0)
        return True

    def wait_s(self, now: float) -> float:
        """How long until `take` will say True."""
        if self.rate <= 0:
            return 0.0
        self._refill(now)
        return max(0.0, (1.0 - self._tokens) / self.rate)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
