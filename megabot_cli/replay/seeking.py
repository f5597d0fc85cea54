"""Read no more of a recording than a replay of a part of it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import glance
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import choose, read_from
from megabot_cli.storage.record_reader import RecordReader
from megabot_cli.storage.recording_reader import RecordingReader

# Before the place to begin at: a reply that names nobody answers what was asked before it.
_LEAD_RECORDS: Final = 10_000


def lane_of(record: Record) -> str:
    return record.link or record.session or record.client or ""


def with_lead(reader: RecordReader, begin: Place | None) -> Place | None:
    """A little before the place to begin at; None where all is to be read from the start.

    That is for a mark, which only reading finds, and of what comes once (a pipe).
    """
    if begin is None or begin.kind == "mark":
        return None
    with _again(reader) as again:
        if again is None:
            return None
        for record, _ in read_from(again, begin):
            if begin.reached_by(record):
                return Place("number", max(0, record.n - _LEAD_RECORDS))
    return begin


def _again(reader: RecordReader) -> AbstractContextManager[RecordingReader | None]:
    again = reader.again() if isinstance(reader, RecordingReader) else None
    return again or nullcontext()


def records_from(
    reader: RecordReader,
    begin: Place | None,
    is_full: Callable[[], bool],
    concerns: Callable[[Record], bool],
) -> Iterator[Record]:
    """The records from `begin` on; once all is chosen (`is_full`) only those that concern it.

    `concerns` may ask for what says to whom a record belongs, and nothing else of it.
    """
    look = glance(("direction", "link", "session", "client", "reply_to"), concerns)
    for record, _ in read_from(reader, begin, lambda line: not is_full() or look(line)):
        yield record


def who_came_before(reader: RecordReader, n: int) -> Iterator[Record]:
    """The openings and closings before record `n`, of what was passed over: sought anew."""
    kinds = [b'"kind":"open"', b'"kind":"close"']  # as all recorders write them
    blocks = BlockChoice({"kind": _is_of_coming}, until=Place("number", n))
    with _again(reader) as again:
        if again is None:
            return
        for record, _ in again.search(kinds, escapes=False, blocks=blocks):
            if record.n >= n:
                return
            if _is_of_coming(record):
                yield record


def _is_of_coming(record: Record) -> bool:
    return record.kind in ("open", "close")


def said_before(reader: RecordReader, begun: Mapping[str, int]) -> Iterator[Record]:
    """What each lane said before the record with which it begins: read anew."""
    last = max(begun.values(), default=0)
    wanted = Selection(direction="to_upstream", kinds=("message",))
    with _again(reader) as again:
        for record, _ in choose(again, wanted) if again is not None else ():
            if record.n >= last:
                return
            if record.n < begun.get(lane_of(record), 0):
                yield record
