"""The engine of one relay alone: everything is in this process, and gone with it."""

from __future__ import annotations

from collections import defaultdict

from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.relay.ring import Ring
from megabot_cli.relay.upstream_queue import UpstreamQueue

# An upstream that is away is knocked at once a second, however many links want in. One that has
# just let somebody in again is met by a queue and not by a crowd.
AWAY_S = 1.0
WELL_S = 0.1


class DialPace:
    """When an identity may dial again."""

    def __init__(self) -> None:
        self._next_at = 0.0
        self._pace_s = WELL_S
        self._left_alone_until = 0.0

    def wait_s(self, now: float, *, first: bool) -> float:
        if first and self._pace_s == WELL_S:
            return self.left_alone_s(now)
        if (left_s := self.next_turn_s(now)) > 0:
            return left_s
        self._next_at = now + self._pace_s
        return 0.0

    def next_turn_s(self, now: float) -> float:
        return max(0.0, self._next_at - now, self._left_alone_until - now)

    def left_alone_s(self, now: float) -> float:
        return max(0.0, self._left_alone_until - now)

    def ended(self, now: float, *, well: bool, retry_after_s: float | None) -> None:
        if retry_after_s is not None:
            self._left_alone_until = max(self._left_alone_until, now + retry_after_s)
        self._pace_s = WELL_S if well else AWAY_S
        self._next_at = min(self._next_at, now + WELL_S) if well else now + AWAY_S


class MemoryEngine:
    """See `engine.Engine`."""

    def __init__(self) -> None:
        self._leases: dict[tuple[str, str], str] = {}
        self._held: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._paces: defaultdict[str, DialPace] = defaultdict(DialPace)

    def claim(self, identity: str, session: str, holder: str) -> str:
        owner = self._leases.setdefault((identity, session), holder)
        if owner == holder:
            self._held[identity, holder].add(session)
        return owner

    def holder(self, identity: str, session: str) -> str | None:
        return self._leases.get((identity, session))

    def release(self, identity: str, holder: str) -> None:
        for session in self._held.pop((identity, holder), ()):
            del self._leases[identity, session]

    def open_ring(self, epoch: str, settings: RelaySettings) -> Ring:
        return Ring(
            epoch,
            messages=settings.ring_messages,
            size_bytes=settings.ring_bytes,
            age_s=settings.ring_age_s,
        )

    def open_queue(self, limits: LimitSettings, settings: RelaySettings) -> UpstreamQueue:
        return UpstreamQueue(limits, settings)

    def dial_wait_s(self, identity: str, now: float, *, first: bool = False) -> float:
        return self._paces[identity].wait_s(now, first=first)

    def next_turn_s(self, identity: str, now: float) -> float:
        return self._paces[identity].next_turn_s(now)

    def dial_ended(
        self, identity: str, now: float, *, well: bool, retry_after_s: float | None = None
    ) -> None:
        self._paces[identity].ended(now, well=well, retry_after_s=retry_after_s)

    def left_alone_s(self, identity: str, now: float) -> float:
        return self._paces[identity].left_alone_s(now)
