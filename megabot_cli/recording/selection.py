"""Which records are wanted: the words that `tail`, `recordings` and `replay` share."""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

import msgspec

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.conditions import Condition
from megabot_cli.recording.format_v1 import glance
from megabot_cli.recording.literals import Literals, ending_in_record, in_record
from megabot_cli.recording.passed_on import PassedOnGreetings
from megabot_cli.recording.record import Record
from megabot_cli.recording.regular import compiled
from megabot_cli.recording.segment_index import FIELDS
from megabot_cli.recording.word_search import seeker, texts_to_find

MESSAGES_AND_LOSSES = ("message", "inject", "gap", "drop", "fault")
_OF_EVENTS = frozenset({"kind", "code", "reason", "by", "note", "lost", "lost_bytes"})
_GLOB_CHARACTERS = frozenset("*?[")
_LEAST_END = 6  # characters: fewer would be the end of too many ids


class Selection(msgspec.Struct, frozen=True):
    """All that is given must hold; of several values of one word any will do.

    `types` and `kinds` are globs (`chat_*`). `sessions`, `clients`, `links` and `ids` are too,
    or whole ids, or at least six characters that an id ends with, as lines show it. `grep` is
    a regular expression sought in the payload (`word_search`), or in the note or reason of what
    has none, `where` a condition (CEL) over the record.
    `from_us` and `until_us` are microseconds since the recording began, the first inclusive,
    the second not; `begin` and `until` are the same as places that people name. `limit` counts
    records that are wanted; with each of them `around` records before and after it are given
    too, of those `kinds` if any are named.
    """

    types: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    direction: str | None = None
    sessions: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    grep: str | None = None
    where: str | None = None
    from_us: int | None = None
    until_us: int | None = None
    begin: Place | None = None
    until: Place | None = None
    limit: int | None = None
    around: int = 0

    @property
    def everything(self) -> bool:
        return self == Selection()

    @property
    def asks_for_events(self) -> bool:
        """Whether it speaks of what is no message: closings, say, or marks."""
        return self.where is not None and not Condition(self.where).fields.isdisjoint(_OF_EVENTS)

    @property
    def may_cut_answers(self) -> bool:
        """Whether of a streamed answer some chunks may be chosen and others not."""
        by_chunk = (self.ids, self.grep, self.where, self.limit, self.around)
        places = (self.from_us, self.until_us, self.begin, self.until)
        return any(by_chunk) or any(each is not None for each in places)

    def of_messages(self) -> Selection:
        """The same, but for openings, closings and the like. Losses stay: they concern all."""
        return self if self.kinds else msgspec.structs.replace(self, kinds=MESSAGES_AND_LOSSES)

    def quick_part(self) -> Selection:
        """What of it takes a short time with any record; that wants all this does, or more.

        A regular expression can take minutes with one message, and so can a condition that is
        more than comparisons: those are not for a place where others wait.
        """
        is_quick = self.where is None or Condition(self.where).is_plain
        return msgspec.structs.replace(self, grep=None, where=self.where if is_quick else None)

    def matcher(self) -> Matcher:
        """Compile the selection.

        WrongUsage when `grep` is no regular expression, BadData when `where` is no condition.
        """
        return Matcher(self)

    def matches(self, record: Record) -> bool:
        """Whether one record is wanted. For many, `matcher` is quicker."""
        return Matcher(self).matches(record)

    def chooser(
        self,
        started_at_s: float = 0.0,
        leaves_out: Callable[[Record], bool] | None = None,
        *,
        greets_once: bool = False,
    ) -> Chooser:
        """Compile the selection for the records of one recording, one after the other.

        `started_at_s` is when it began, in Unix seconds: wall times are counted from it. What
        `leaves_out` is true of is not wanted, though all else holds. With it, or `greets_once`, a
        greeting that a relay passed on stands beside nothing.
        """
        greets_once = greets_once or leaves_out is not None
        return Chooser(self, started_at_s, leaves_out, greets_once=greets_once)


class Matcher:
    """A compiled selection; `matches` says of one record whether it is wanted.

    Cheap questions are asked first.
    """

    matches: Callable[[Record], bool]

    def __init__(self, selection: Selection) -> None:
        self._wanted = selection
        self._where = Condition(selection.where) if selection.where else None
        self._fields: set[str] = set()
        self.about: dict[str, Callable[[Record], bool]] = {}
        """The questions that are about one field which an index of a segment tells of."""
        self._questions = list(self._compile())
        self.matches = self._questions[0] if len(self._questions) == 1 else self._all

    @property
    def takes_most(self) -> bool:
        """Whether all messages are wanted: then a look at the line first is for nothing."""
        return self._wanted == Selection(kinds=MESSAGES_AND_LOSSES, limit=self._wanted.limit)

    def prepare(self) -> None:
        """Load now what else would be loaded when a record asks for it."""
        if self._where is not None:
            self._where.prepare()

    def glance(self) -> Callable[[bytes], bool] | None:
        """How to ask a line for no more than is needed (`format_v1.glance`); None: all match."""
        return glance(self._fields, self.matches) if self._questions else None

    def _all(self, record: Record) -> bool:
        for question in self._questions:  # noqa: SIM110  twice as quick as all()
            if not question(record):
                return False
        return True

    def _compile(self) -> Iterator[Callable[[Record], bool]]:
        """What is asked of a record; only what somebody wants to know."""
        wanted = self._wanted
        asked = self._fields.add
        if wanted.direction is not None:
            asked("direction")
            yield self._about("direction", lambda record: record.direction == wanted.direction)
        for name, values in (
            ("session", wanted.sessions),
            ("client", wanted.clients),
            ("link", wanted.links),
            ("id", wanted.ids),
        ):
            if values:
                asked(name)
                yield self._about(name, _identified(name, values))
        if wanted.users:
            asked("user")
            yield self._about("user", _one_of("user", wanted.users))
        if wanted.from_us is not None:
            first = wanted.from_us
            yield lambda record: record.t >= first
        if wanted.until_us is not None:
            last = wanted.until_us
            yield lambda record: record.t < last
        if wanted.types:
            asked("type")
            yield self._about("type", _like("type", wanted.types))
        if wanted.kinds:
            yield self._about("kind", _like("kind", wanted.kinds))
        if wanted.grep is not None:
            self._fields |= {"data", "note", "reason"}
            is_found = seeker(expression(wanted.grep, "--grep"))
            yield lambda record: is_found(_words_of(record))
        if self._where is not None:
            self._fields |= self._where.record_fields
            yield self._where.holds

    def _about(self, name: str, question: Callable[[Record], bool]) -> Callable[[Record], bool]:
        if name in FIELDS:
            self.about[name] = question
        return question

    def literals(self) -> list[Literals]:
        """What must stand in the line of a record that is wanted, the most telling first.

        What cannot be said so (globs) is left out, and so is a direction that most lines have.
        """
        wanted = self._wanted
        found = [
            ending_in_record(key, values, least=_LEAST_END)
            for key, values in (
                ("id", wanted.ids),
                ("session", wanted.sessions),
                ("client", wanted.clients),
                ("link", wanted.links),
            )
            if not any(map(_is_glob, values))
        ]
        found.append(in_record("user", *wanted.users))
        if not any(map(_is_glob, wanted.types)):
            found.append(in_record("type", *wanted.types))
        if wanted.grep is not None:
            found.append(Literals(texts_to_find(wanted.grep), in_payload=False))
        if self._where is not None:
            found += self._where.literals()
        found = sorted(
            (each for each in found if each.can_be_sought), key=lambda each: -each.length
        )
        if wanted.direction == "to_upstream":
            found.append(in_record("direction", wanted.direction))  # tells least
        return found


class Chooser:
    """Chooses among the records of one recording, which are offered in their order.

    `finished` once nothing that comes later can be wanted. `chosen` counts what was wanted,
    without what stands around it.
    """

    def __init__(
        self,
        selection: Selection,
        started_at_s: float,
        leaves_out: Callable[[Record], bool] | None = None,
        *,
        greets_once: bool = False,
    ) -> None:
        self.matcher = selection.matcher()
        self._leaves_out = leaves_out
        self._begin = selection.begin.settled(started_at_s) if selection.begin else None
        self._until = selection.until.settled(started_at_s) if selection.until else None
        self._begun = self._begin is None
        self._limit = selection.limit
        self._around = selection.around
        self._before: deque[tuple[Record, bytes]] = deque(maxlen=selection.around)
        self._greets_once = greets_once
        self._is_passed_on = PassedOnGreetings().is_one if greets_once else None
        self._is_of_kind = _like("kind", selection.kinds) if selection.kinds else None
        self._after = 0
        self.chosen = 0
        self.finished = False

    @property
    def begin(self) -> Place | None:
        """From where on records can be wanted; None: from the first."""
        return self._begin

    def blocks(self, *, losses: bool = False) -> BlockChoice | None:
        """How to pass over blocks of a segment that hold nothing wanted; None: all may.

        With `losses` not those in which, or before which, a number is missing.
        """
        about = {} if self.matcher.takes_most else self.matcher.about
        if not about and (self._begin is None or self._begin.kind == "mark"):
            return None
        return BlockChoice(
            about,
            self._begin,
            self._until,
            self._around,
            losses,
            limited=self._limit is not None,
            greets_once=self._greets_once,
        )

    @property
    def unseen_marks(self) -> list[str]:
        """The marks by name that bound what is wanted and have not come by yet."""
        bounds = (
            None if self._begun else self._begin,
            None if self.finished else self._until,
        )
        return [each.name for each in bounds if each is not None and each.kind == "mark"]

    @property
    def looks_at_order(self) -> bool:
        """Whether more is asked than what each record answers for itself."""
        return bool(self._around) or not self._begun or self._until is not None

    def offer(self, record: Record, line: bytes = b"") -> Sequence[tuple[Record, bytes]]:
        """The records to show now, each with its line: none, this one, or some before it too."""
        if self.finished or not self._within(record):
            return ()
        if not self._around:
            return ((record, line),) if self._wanted(record) else ()
        return self._with_neighbours(record, line)

    @property
    def undecided(self) -> Record | None:
        """The oldest of those that were offered which may still be given, beside another."""
        return self._before[0][0] if self._before else None

    @property
    def is_within(self) -> bool:
        """Whether the record last offered stands between the bounds, chosen or not."""
        return self._begun and not self.finished

    def _within(self, record: Record) -> bool:
        if not self._begun:
            assert self._begin is not None
            self._begun = self._begin.reached_by(record)
        if self._begun and self._until is not None and self._until.reached_by(record):
            self.finished = True
        return self._begun and not self.finished

    def _wanted(self, record: Record) -> bool:
        if not self.matcher.matches(record):
            return False
        if self._leaves_out is not None and self._leaves_out(record):
            return False
        self.chosen += 1
        if self._limit is not None and self.chosen >= self._limit and not self._around:
            self.finished = True
        return True

    def _with_neighbours(self, record: Record, line: bytes) -> Sequence[tuple[Record, bytes]]:
        here = (record, line)
        is_passed_on = self._is_passed_on is not None and self._is_passed_on(record)
        is_more = self._limit is None or self.chosen < self._limit
        if is_more and self._wanted(record):
            shown = [*self._before, here]
            self._before.clear()
            self._after = self._around
            return shown
        if not self._after and not is_more:
            self.finished = True
            return ()
        if is_passed_on or (self._is_of_kind is not None and not self._is_of_kind(record)):
            return ()  # it is not shown, and takes no place of what is
        if self._after:
            self._after -= 1
            return (here,)
        self._before.append(here)
        return ()


def _words_of(record: Record) -> str:
    """What a record says: its payload; a mark its words, and a closing why."""
    return record.data or record.note or record.reason or ""


def _one_of(name: str, values: Sequence[str]) -> Callable[[Record], bool]:
    get = attrgetter(name)
    return lambda record: get(record) in values


def _identified(name: str, values: Sequence[str]) -> Callable[[Record], bool]:
    """Whether an id is one of `values`, ends with one, or is like one with a `*` in it."""
    get, whole = attrgetter(name), frozenset(values)
    globs = [value for value in values if _is_glob(value)]
    ends = tuple(each for each in values if len(each) >= _LEAST_END and each not in globs)
    match = _pattern(globs) if globs else None

    def fits(record: Record) -> bool:
        found = get(record)
        if found is None:
            return False
        return (
            found in whole
            or found.endswith(ends)
            or (match is not None and match(found) is not None)
        )

    return fits


def _is_glob(text: str) -> bool:
    return not _GLOB_CHARACTERS.isdisjoint(text)


def _pattern(globs: Sequence[str]) -> Callable[[str], re.Match[str] | None]:
    return re.compile("|".join(map(fnmatch.translate, globs))).match


def _like(name: str, globs: Sequence[str]) -> Callable[[Record], bool]:
    get = attrgetter(name)
    if not any(map(_is_glob, globs)):
        return _one_of(name, globs)
    match = _pattern(globs)
    return lambda record: match(get(record) or "") is not None


def expression(text: str, named: str) -> re.Pattern[str]:
    """WrongUsage, with the place, when the text called `named` is no regular expression."""
    try:
        return compiled(text)
    except re.error as fault:
        at = f" at character {fault.pos + 1}" if fault.pos is not None else ""
        raise WrongUsage(
            f"{named} is no regular expression: {fault.msg}{at}.",
            "A \\ before any of .^$*+?()[]{}|\\ means the character itself.",
        ) from None
