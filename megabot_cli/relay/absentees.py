"""Who has left a session, and how far each had come, as far as anybody can know."""

from __future__ import annotations

import msgspec

from megabot_cli.protocol.close_codes import CloseCode

NO_CODE = 1005  # a close frame that gave none


class Left(msgspec.Struct, frozen=True):
    """Where a client was. Not `sure`: it may not have read all that was written to it."""

    cursor: str
    sure: bool
    at: float  # of the event loop's clock


class Absentees:
    """The clients of one session that are not there. Plain state; `most` are remembered."""

    def __init__(self) -> None:
        self._left: dict[str, Left] = {}  # by client_id
        self._told: dict[str, None] = {}  # without a client_id, and closed with a cursor

    def get(self, name: str) -> Left | None:
        return self._left.get(name)

    def items(self) -> list[tuple[str, Left]]:
        return list(self._left.items())

    def remember(self, name: str, left: Left, most: int) -> None:
        self._left.pop(name, None)  # it is the youngest now
        self._left[name] = left
        while len(self._left) > most:
            del self._left[next(iter(self._left))]

    def take(self, name: str) -> Left | None:
        """It is back."""
        return self._left.pop(name, None)

    def was_told(self, name: str, most: int) -> None:
        """It was closed with a cursor that names it: see `LocalClient.parting_cursor`."""
        self._told[name] = None
        while len(self._told) > most:
            del self._told[next(iter(self._told))]

    def whose(self, cursor: str | None) -> str | None:
        """Who was closed with this cursor; None for a cursor that anybody may have."""
        name = (cursor or "").partition("@")[2]
        return name if name in self._told else None


def is_goodbye(code: int) -> bool:
    """Whether a client closed because it wanted to. Codes of faults say that it could not go on,
    and a line that was cut says nothing."""
    return code in (CloseCode.NORMAL, CloseCode.GOING_AWAY, NO_CODE) or code >= 3000
