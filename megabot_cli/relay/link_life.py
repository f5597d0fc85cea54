"""What one link does next. No socket, no clock, no log."""

from __future__ import annotations

from enum import StrEnum

from megabot_cli.protocol.backoff import Backoff

# About, between two tries with a credential that was refused: three of them take a second.
REFUSED_S = 0.4


class LinkState(StrEnum):
    IDLE = "idle"
    AUTHENTICATING = "authenticating"
    CONNECTING = "connecting"
    RESUMING = "resuming"
    UP = "up"
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    DRAINING = "draining"


class Verdict(StrEnum):
    """What became of the session when a link came up."""

    FRESH = "fresh"
    RESUMED = "resumed"
    NEW_SESSION = "new_session"
    UNKNOWN = "unknown"  # the upstream named no session, so nobody can say


# A state not named here as a source is an end.
_NEXT: dict[LinkState, frozenset[LinkState]] = {
    LinkState.IDLE: frozenset({LinkState.AUTHENTICATING, LinkState.DRAINING}),
    LinkState.AUTHENTICATING: frozenset(
        {
            LinkState.CONNECTING,
            LinkState.RESUMING,
            LinkState.BACKING_OFF,
            LinkState.FAILED,
            LinkState.DRAINING,
        }
    ),
    LinkState.CONNECTING: frozenset(
        {LinkState.UP, LinkState.BACKING_OFF, LinkState.FAILED, LinkState.DRAINING}
    ),
    LinkState.RESUMING: frozenset(
        {LinkState.UP, LinkState.BACKING_OFF, LinkState.FAILED, LinkState.DRAINING}
    ),
    LinkState.UP: frozenset({LinkState.BACKING_OFF, LinkState.FAILED, LinkState.DRAINING}),
    LinkState.BACKING_OFF: frozenset({LinkState.AUTHENTICATING, LinkState.DRAINING}),
    LinkState.FAILED: frozenset({LinkState.AUTHENTICATING, LinkState.DRAINING}),
}


class LinkLife:
    """The states of one link, the session it holds, and when it dials again."""

    def __init__(self, backoff: Backoff, asked_session: str | None) -> None:
        self._backoff = backoff
        self.state = LinkState.IDLE
        self.session_id = asked_session
        self.ever_up = False
        self.attempts = 0

    def move(self, state: LinkState) -> None:
        assert state in _NEXT.get(self.state, frozenset()), f"{self.state} does not lead to {state}"
        self.state = state

    def dial(self) -> str | None:
        """A credential is at hand: connect; returns the session to ask for, if any."""
        self.move(LinkState.RESUMING if self.session_id else LinkState.CONNECTING)
        return self.session_id

    def came_up(self, session_id: str | None) -> Verdict:
        """The upstream greeted us and named the session in force."""
        asked, self.session_id = self.session_id, session_id or self.session_id
        self.move(LinkState.UP)
        came_back, self.ever_up = self.ever_up, True
        self.attempts = 0
        if asked is None and not came_back:
            return Verdict.FRESH
        if session_id is None or asked is None:
            return Verdict.UNKNOWN
        return Verdict.RESUMED if session_id == asked else Verdict.NEW_SESSION

    def renamed(self, session_id: str) -> None:
        """The upstream goes on in another session, on the connection that there is."""
        self.session_id = session_id

    def refused(self, chance: float) -> float:
        """The credential was refused: as `lost`, but what may be a matter of a moment is asked
        again soon, however many dials failed before."""
        self.move(LinkState.BACKING_OFF)
        self.attempts += 1
        return REFUSED_S * (0.5 + chance)

    def lost(self, chance: float, retry_after_s: float | None = None) -> float:
        """The connection or the dial failed; returns how long to wait before the next.

        `chance` is within 0..1; an upstream's own Retry-After is the least we wait.
        """
        self.move(LinkState.BACKING_OFF)
        self.attempts += 1
        delay = self._backoff.delay_s(self.attempts, chance)
        assert delay is not None, "a link's schedule has no end"
        return max(delay, retry_after_s or 0.0)
