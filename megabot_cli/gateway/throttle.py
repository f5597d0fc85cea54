"""How often a password may be tried. Times are handed in."""

from __future__ import annotations

from megabot_cli.protocol.limits import TokenBucket

MOST_NAMES = 10_000


class LoginThrottle:
    """Bounds attempts for each name (against guessing) and in all (hashing is dear).

    A right password clears its name's count: only failures add up there.
    """

    def __init__(
        self,
        now: float,
        *,
        per_name_rate: float = 0.2,
        per_name_burst: float = 10.0,
        total_rate: float = 20.0,
        total_burst: float = 40.0,
    ) -> None:
        self._per_name_rate = per_name_rate
        self._per_name_burst = per_name_burst
        self._names: dict[str, TokenBucket] = {}
        self._total = TokenBucket(total_rate, total_burst, now)

    def admit(self, name: str, now: float) -> float:
        """0 when the attempt may be made (it then counts), else the seconds to wait."""
        bucket = self._bucket(name, now)
        if bucket.wait_s(now) > 0:
            return bucket.wait_s(now)
        if not self._total.take(now):
            return self._total.wait_s(now)
        bucket.take(now)
        return 0.0

    def forgive(self, name: str) -> None:
        self._names.pop(name, None)

    def _bucket(self, name: str, now: float) -> TokenBucket:
        bucket = self._names.pop(name, None)
        if bucket is None:
            bucket = TokenBucket(self._per_name_rate, self._per_name_burst, now)
            if len(self._names) >= MOST_NAMES:
                del self._names[next(iter(self._names))]
        self._names[name] = bucket  # re-inserted last: the first is the longest unused
        return bucket
