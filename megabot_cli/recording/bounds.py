"""Places in a recording as people say them: `12.5s`, `n=100`, a wall time, the name of a mark."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.record import Record

_NUMBER = re.compile(r"n=(\d{1,18})\Z")
_OFFSET = re.compile(
    r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m(?!s))?(?:(?P<s>\d+(?:\.\d+)?)s)?"
    r"(?:(?P<ms>\d+(?:\.\d+)?)ms)?\Z|(?P<bare>\d+(?:\.\d+)?)\Z",
    re.ASCII,
)
_UNIT_US = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "bare": 1_000_000}
_ENDLESS_US = 10**18  # later than any record may be
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?\Z", re.ASCII)


class Place(msgspec.Struct, frozen=True):
    """Where in a recording. `value` is microseconds (`offset`, since its start), a record's
    `n` (`number`), microseconds of Unix time (`wall`), microseconds of a local day (`day`), or
    0 for a `mark`, whose words are in `name`."""

    kind: Literal["offset", "number", "wall", "day", "mark"]
    value: int = 0
    name: str = ""

    def settled(self, started_at_s: float) -> Place:
        """The same place of a recording that began then (Unix seconds): no wall time is left."""
        if self.kind == "wall":
            return Place("offset", max(0, self.value - round(started_at_s * 1e6)))
        if self.kind == "day":
            return Place("offset", self._on_its_day(started_at_s))
        return self

    def _on_its_day(self, started_at_s: float) -> int:
        """The first time after the start that clocks here show that time of day."""
        start = datetime.fromtimestamp(started_at_s, UTC).astimezone()
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        at = midnight + timedelta(microseconds=self.value)
        # A minute's grace: who reads 12:30 off a list means a recording of 12:30:20 as well.
        if at < start - timedelta(minutes=1):
            at += timedelta(days=1)
        return max(0, (at - start) // timedelta(microseconds=1))

    def reached_by(self, record: Record) -> bool:
        """Whether `record` stands at this place or behind it. Only for a settled place."""
        if self.kind == "offset":
            return record.t >= self.value
        if self.kind == "number":
            return record.n >= self.value
        return record.kind == "mark" and record.note == self.name


def parse_place(text: str, flag: str) -> Place:
    """Understand what was typed after `flag`. WrongUsage when nothing was.

    What is neither an offset, a number nor a time is the name of a mark.
    """
    word = text.strip()
    if not word:
        raise WrongUsage(f"{flag} names no place", "Write 12.5s, n=100, 14:02:10 or a mark.")
    number = _NUMBER.match(word)
    if number is not None:
        return Place("number", int(number[1]))
    offset = _OFFSET.match(word)
    if offset is not None:
        parts = offset.groupdict()
        us = sum(float(parts[u]) * _UNIT_US[u] for u in parts if parts[u])
        return Place("offset", round(min(us, _ENDLESS_US)))
    return _wall(word, flag) or Place("mark", name=word.removeprefix("mark="))


def _wall(word: str, flag: str) -> Place | None:
    if _TIME_OF_DAY.match(word):
        hours, minutes, *rest = word.split(":")
        seconds = float(rest[0]) if rest else 0.0
        if int(hours) > 23 or int(minutes) > 59 or seconds >= 60:
            hint = f"A mark of that name is mark={word}."
            raise WrongUsage(f"{flag}: {word} is no time of day.", hint)
        return Place("day", (int(hours) * 60 + int(minutes)) * 60_000_000 + round(seconds * 1e6))
    try:
        at = datetime.fromisoformat(word)
    except ValueError:
        return None
    if not any(sign in word for sign in "-:"):  # 2026 is no date to a person
        return None
    if at.tzinfo is None:
        try:
            at = at.astimezone()
        except (ValueError, OverflowError):  # the first or last day that can be written
            raise WrongUsage(f"{flag}: no recording is of {word}.", "Leave it out.") from None
    return Place("wall", round(at.timestamp() * 1e6))
