"""What `tail` shows, and in what order: recordings merged by time, then what is live."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from megabot_cli.commands.tail_screen import AllShown, Enough
from megabot_cli.terminal.console import ReaderGone, reader_is_gone

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.commands.tail_screen import Screen
    from megabot_cli.recording.record import Record
    from megabot_cli.recording.selection import Selection
    from megabot_cli.storage.run_files import RunningRelay
    from megabot_cli.terminal.console import Console

LOOK_FOR_READER_S = 0.25
MOST_OVERLAP = 10_000

_Key = tuple[Any, ...]
_Seen = tuple[float, int, "Record", bytes]


@dataclass(frozen=True)
class Source:
    """One place where messages are seen. `invocation` is that of its profile."""

    name: str
    kind: Literal["relay", "upstream", "recording", "stdin"]
    invocation: Invocation
    path: Path | None = None  # of a recording, or of the one that the relay writes
    relay: RunningRelay | None = None

    @property
    def is_live(self) -> bool:
        return self.kind != "recording"


@dataclass
class Tail:
    """One source: what is wanted of it, and what its history has shown already."""

    source: Source
    wanted: Selection
    screen: Screen
    last_n: int = 0  # of its recording, as far as that was shown
    found: bool = False  # whether its recording held something that is wanted
    shown: deque[_Key] = field(default_factory=lambda: deque(maxlen=MOST_OVERLAP))

    def __post_init__(self) -> None:
        self.seen_n = 0  # of what is live
        self._seen_t = 0
        self._counts_from = time.time()
        # Each source has greetings of its own; the printer would mix up those of several.
        self.leaves_out: Callable[[Record], bool] | None = None
        if self.screen.printer.leaves_out is not None:
            from megabot_cli.recording.passed_on import PassedOnGreetings

            self.leaves_out = PassedOnGreetings().is_one
        self.chooser = self.wanted.chooser(greets_once=self.greets_once)

    @property
    def greets_once(self) -> bool:
        return self.leaves_out is not None

    def hides(self, record: Record) -> bool:
        """Whether a record is wanted and yet not shown; asked once of each, in order."""
        return self.leaves_out is not None and self.leaves_out(record)

    @property
    def invocation(self) -> Invocation:
        return self.source.invocation

    @property
    def console(self) -> Console:
        return self.screen.console

    def begin(self, started_at_s: float) -> None:
        """From now on records come whose `t` counts from then; what was before is passed."""
        import msgspec

        self.wanted = msgspec.structs.replace(self.wanted, begin=None)
        self.chooser = self.wanted.chooser(started_at_s, greets_once=self.greets_once)

    def show(self, record: Record, at: float, line: bytes = b"") -> None:
        """Show it if it is wanted. AllShown once nothing more is."""
        self.seen_n, self._seen_t = record.n, record.t
        self._counts_from = at - record.t / 1e6
        for each, its_line in self.chooser.offer(record, line):
            its_time = at + (each.t - record.t) / 1e6
            self.screen.show(
                each,
                its_time,
                self.source.name,
                its_line,
                wanted=self._is_wanted(each),
                hidden=self.hides(each),
            )
        if self.chooser.finished:
            raise AllShown

    def show_event(self, kind: str, **facts: Any) -> bool:
        """Show what befell the connection itself as a record; False where none is wanted."""
        from megabot_cli.recording.record import Record

        now = time.time()
        since_us = max(self._seen_t, round((now - self._counts_from) * 1e6))
        record = Record(n=self.seen_n + 1, t=since_us, kind=kind, **facts)
        if not self.screen.events or not self.chooser.matcher.matches(record):
            return False
        self.show(record, now)
        return True

    def show_past(self, record: Record, at: float, line: bytes, *, hidden: bool) -> None:
        """Show what was chosen from its recording; what is `hidden` is taken all the same."""
        self.found = True
        if self.source.is_live:
            self.shown.append(same_as(record))
            self.last_n = max(self.last_n, record.n)
        is_wanted = self._is_wanted(record)
        self.screen.show(
            record, at, self.source.name, line, live=False, wanted=is_wanted, hidden=hidden
        )

    def _is_wanted(self, record: Record) -> bool:
        """Whether it was chosen for itself, not as a neighbour (--around)."""
        return not self.wanted.around or self.chooser.matcher.matches(record)


def same_as(record: Record) -> _Key:
    """What makes a record the same in the recording and in the tap, which number their own.

    Each has pseudonyms of its own for secrets: there the size has to do.
    """
    words = record.size if record.redacted else record.data
    return (record.kind, record.direction, record.client, record.link, record.id, words)


def show_past(tails: Sequence[Tail], count: int | None) -> None:
    """Show the last `count` records of each source that has a recording, or all (None), merged
    by time. What lines hide does not count: so many are shown as were asked for."""
    from heapq import merge

    from megabot_cli.commands.recordings import at_once

    if len(tails) == 1 and tails[0].screen.only_shows and not tails[0].source.is_live:
        _show_one(tails[0], count)
        return
    with ExitStack() as opened:
        streams: list[Iterator[_Seen]] = []
        for number, tail in enumerate(tails):
            path = tail.source.path
            if path is not None:
                past: Iterable[tuple[Record, float, bytes]] = history_of(tail, path, opened)
                if count is not None:
                    past = deque((each for each in past if not tail.hides(each[0])), maxlen=count)
                streams.append(_numbered(past, number))
        opened.enter_context(at_once(tails[0].invocation, "the past"))
        for at, number, record, line in merge(*streams, key=_when):
            tail = tails[number]
            hidden = count is None and tail.hides(record)
            tail.show_past(record, at, line, hidden=hidden)
    tails[0].screen.printer.end()


def _show_one(tail: Tail, count: int | None) -> None:
    """The same for one recording, without a step that it does not need: it may be a long one."""
    from megabot_cli.commands.recordings import at_once, open_source
    from megabot_cli.commands.recordings_output import tell_warnings
    from megabot_cli.storage.choosing import choose, choose_many, started_at_s

    printer = tail.screen.printer
    assert tail.source.path is not None
    with open_source(tail.invocation, tail.source.path) as reader:
        started_at = started_at_s(reader)
        with at_once(tail.invocation, "the past"):
            if count is None and not printer.needs_lines and not tail.wanted.around:
                for records in choose_many(reader, tail.wanted):
                    tail.found = tail.found or bool(records)
                    if tail.leaves_out is not None:
                        records = [each for each in records if not tail.hides(each)]
                    printer.show_many(records, started_at)
            else:
                past: Iterable[tuple[Record, bytes]]
                past = choose(reader, tail.wanted, tail.leaves_out)
                if count is not None:
                    past = deque(past, maxlen=count)
                for record, line in past:
                    tail.found = True
                    printer.show(record, started_at + record.t / 1e6, line)
        tell_warnings(tail.invocation, reader)
    tail.screen.printer.end()


def _numbered(past: Iterable[tuple[Record, float, bytes]], number: int) -> Iterator[_Seen]:
    for record, at, line in past:
        yield at, number, record, line


def _when(seen: _Seen) -> tuple[float, int]:
    return seen[0], seen[1]


def history_of(
    tail: Tail, source: Path, opened: ExitStack
) -> Iterator[tuple[Record, float, bytes]]:
    """What is wanted of a recording: each record, when it was (Unix seconds), and its line."""
    from megabot_cli.commands.recordings import open_source
    from megabot_cli.commands.recordings_output import tell_warnings
    from megabot_cli.storage.choosing import choose, started_at_s

    reader = opened.enter_context(open_source(tail.invocation, source))
    started_at = started_at_s(reader)
    for record, line in choose(reader, tail.wanted, greets_once=tail.greets_once):
        yield record, started_at + record.t / 1e6, line
    if not tail.source.is_live:  # of one that is being written the last line may be half there
        tell_warnings(tail.invocation, reader)


async def follow(tails: Sequence[Tail]) -> None:
    """Show what is live, of all sources at once, as it comes."""
    from megabot_cli.commands.running import first_of

    screen = tails[0].screen
    beside = [screen.sum_up_in_time()] if screen.every_s else []
    with suppress(AllShown):
        await first_of(_all_of(tails), _reader_left(), *beside)


async def _all_of(tails: Sequence[Tail]) -> None:
    import asyncio

    from megabot_cli.commands.tail_following import follow_one

    try:
        async with asyncio.TaskGroup() as tasks:
            for tail in tails:
                work = _to_its_end(follow_one(tail)) if len(tails) > 1 else follow_one(tail)
                tasks.create_task(work, name=f"tail {tail.source.name}")
    except ExceptionGroup as faults:
        raise _first(faults) from None


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """One source that has given all that was wanted of it does not end the others."""
    try:
        await work
    except Enough:
        raise
    except AllShown:
        return


def _first(faults: BaseException) -> BaseException:
    while isinstance(faults, BaseExceptionGroup):
        faults = faults.exceptions[0]
    return faults


async def _reader_left() -> None:
    """ReaderGone when nobody reads stdout: an idle tail would else stay for ever."""
    import asyncio

    # Only a look tells: an event loop cannot wait for the far end of a pipe to close.
    while not reader_is_gone():  # noqa: ASYNC110
        await asyncio.sleep(LOOK_FOR_READER_S)
    raise ReaderGone
