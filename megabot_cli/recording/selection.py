"""Which records are wanted: the words that `tail`, `recordings` and `replay` share."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import msgspec

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.record import Record


class Selection(msgspec.Struct, frozen=True):
    """All that is given must hold; of several values of one word any will do.

    `types` and `kinds` are globs (`chat_*`). `grep` is a regular expression sought in the
    payload. `from_us` and `until_us` are microseconds since the recording began, the first
    inclusive, the second not.
    """

    types: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    direction: str | None = None
    sessions: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    grep: str | None = None
    from_us: int | None = None
    until_us: int | None = None

    @property
    def everything(self) -> bool:
        return self == Selection()

    def matcher(self) -> Matcher:
        """Compile the selection. WrongUsage when `grep` is no regular expression."""
        return Matcher(self)

    def matches(self, record: Record) -> bool:
        """Whether one record is wanted. For many, `matcher` is quicker."""
        return Matcher(self).matches(record)


class Matcher:
    """A compiled selection; cheap questions are asked first."""

    def __init__(self, selection: Selection) -> None:
        self._wanted = selection
        self._types = _globs(selection.types)
        self._kinds = _globs(selection.kinds)
        self._grep = _expression(selection.grep)

    def matches(self, record: Record) -> bool:
        wanted = self._wanted
        return (
            (wanted.direction is None or record.direction == wanted.direction)
            and (not wanted.sessions or record.session in wanted.sessions)
            and (not wanted.clients or record.client in wanted.clients)
            and (not wanted.links or record.link in wanted.links)
            and (not wanted.users or record.user in wanted.users)
            and (wanted.from_us is None or record.t >= wanted.from_us)
            and (wanted.until_us is None or record.t < wanted.until_us)
            and (self._types is None or self._types.match(record.type or "") is not None)
            and (self._kinds is None or self._kinds.match(record.kind) is not None)
            and (self._grep is None or self._grep.search(record.data or "") is not None)
        )


def _globs(globs: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(fnmatch.translate, globs))) if globs else None


def _expression(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as fault:
        at = f" at character {fault.pos + 1}" if fault.pos is not None else ""
        raise WrongUsage(f"--grep is no regular expression: {fault.msg}{at}.") from None
