"""How fast a link sends: as fast as is allowed, and more slowly once the upstream objects."""

from __future__ import annotations

from megabot_cli.protocol.limits import TokenBucket

HALVED_S = 10.0  # so long the rate stays halved
QUICKEN_PER_S = 1.0  # and then rises, in messages a second for each second
DEAF_S = 1.0  # objections to one burst are one objection
SLOWEST = 0.5  # messages a second


class SendPace:
    """A token bucket of `rate` messages a second whose rate gives way for a while.

    Times are monotonic seconds and are handed in. A rate of 0 is no limit: the operator says
    that nothing is to be held back, and nothing is.
    """

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.full_rate = rate
        self._bucket = TokenBucket(rate, burst, now)
        self._low = rate
        self._slowed_at: float | None = None

    def allow(self, rate: float, burst: float, now: float) -> None:
        """Other limits hold from now on; what the upstream objected to stays in force."""
        bucket, self.full_rate = self._bucket, rate
        bucket.allow(burst, now)
        if rate <= 0 or self._slowed_at is None:
            self._slowed_at, bucket.rate = None, rate
        else:
            self._low = min(self._low, rate)
            bucket.rate = min(bucket.rate, rate)

    @property
    def rate(self) -> float:
        return self._bucket.rate

    def take(self, now: float) -> bool:
        """Whether a message may leave now; if so, its token is gone."""
        if self._slowed_at is not None:
            self._recover(now)
        return self._bucket.take(now)

    def charge(self, count: int) -> None:
        """What `take` let leave was so many messages more."""
        self._bucket.charge(count)

    def wait_s(self, now: float) -> float:
        """How long until `take` will say True."""
        if self._slowed_at is not None:
            self._recover(now)
        return self._bucket.wait_s(now)

    def slow_down(self, now: float) -> bool:
        """The upstream says it was too much. False: it has said so about this burst already."""
        if self.full_rate <= 0 or (self._slowed_at is not None and now < self._slowed_at + DEAF_S):
            return False
        self._low = max(min(SLOWEST, self.full_rate), self._bucket.rate / 2)
        self._slowed_at = now
        self._bucket.take_all(now)
        self._bucket.rate = self._low
        return True

    def _recover(self, now: float) -> None:
        assert self._slowed_at is not None
        quickening_s = now - self._slowed_at - HALVED_S
        if quickening_s <= 0:
            return
        self._bucket.rate = min(self.full_rate, self._low + quickening_s * QUICKEN_PER_S)
        if self._bucket.rate >= self.full_rate:
            self._slowed_at = None
