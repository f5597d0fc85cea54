"""Whether and when to dial again after a loss. No socket, no clock."""

from __future__ import annotations

import msgspec

from megabot_cli.errors import (
    BadConfiguration,
    ConnectionLost,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    WrongUsage,
)
from megabot_cli.protocol.backoff import Backoff
from megabot_cli.protocol.close_codes import MEANING, CloseCode

# After these the peer does not want us back: it was done, somebody else took our place
# (coming back would throw them out in turn), or the session is over.
FINAL_CODES = frozenset({CloseCode.NORMAL, CloseCode.REPLACED, CloseCode.SESSION_ENDED})

# A connection that stood this long, or brought a message, was worth the dial. One that
# falls at once each time must not count its attempts anew for ever.
STEADY_S = 5.0

_HOPELESS = (NotAuthenticated, NotPermitted, BadConfiguration, WrongUsage)


class Loss(msgspec.Struct, frozen=True):
    """How a connection ended. Code 1006: without a close frame."""

    code: int
    reason: str = ""

    @property
    def final(self) -> bool:
        return self.code in FINAL_CODES

    def __str__(self) -> str:
        meaning = MEANING.get(self.code, "no known meaning")
        said = f": {self.reason}" if self.reason else ""
        return f"{meaning} ({self.code}){said}"


class Attempts:
    """Counts the dials since the last steady connection, by a schedule."""

    def __init__(self, schedule: Backoff | None) -> None:
        self._schedule = schedule
        self.count = 0

    def stood(self, seconds: float, messages: int) -> None:
        """A connection was up so long and brought so many messages after its greeting."""
        if messages > 0 or seconds >= STEADY_S:
            self.count = 0

    def next_delay_s(self, fault: MegabotError | None, chance: float) -> float | None:
        """Seconds to wait before the next dial; None to give up.

        `fault` is why the last dial failed, if one did; `chance` is within 0..1. What the
        upstream asked for (Retry-After) is the least we wait.
        """
        if self._schedule is None or isinstance(fault, _HOPELESS):
            return None
        self.count += 1
        delay_s = self._schedule.delay_s(self.count, chance)
        if delay_s is None:
            return None
        return max(delay_s, (fault.retry_after_s or 0.0) if fault is not None else 0.0)


def given_up(loss: Loss, fault: MegabotError | None, who: str) -> MegabotError:
    """The error for a connection that will not come back."""
    if isinstance(fault, _HOPELESS):
        return fault
    if loss.code == CloseCode.NORMAL:
        return ConnectionLost(f"{who} ended the connection", close_code=loss.code)
    hint = f"The last attempt: {fault.message}." if fault is not None else None
    return ConnectionLost(f"The connection was lost: {loss}", hint, close_code=loss.code)


def again(error: MegabotError) -> MegabotError:
    """The same error for one more who waits: one exception object serves one raise."""
    return type(error)(
        error.message, error.hint, retry_after_s=error.retry_after_s, close_code=error.close_code
    )
