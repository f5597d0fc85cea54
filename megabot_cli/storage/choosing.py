"""The records of a recording that are wanted, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Chooser, Matcher, Selection
from megabot_cli.storage.record_reader import RecordReader
from megabot_cli.storage.recording_reader import RecordingReader
from megabot_cli.storage.segment_reader import Wanted


def choose(
    reader: RecordReader,
    wanted: Selection,
    leaves_out: Callable[[Record], bool] | None = None,
    *,
    greets_once: bool = False,
) -> Iterator[tuple[Record, bytes]]:
    """Give each record that is wanted with its line, and stop where no other can be.

    What `leaves_out` is true of is neither given nor counted; it is asked in order. `greets_once`
    as for `Selection.chooser`.

    Where the words name texts that must stand in a line, only such lines are looked at, and of
    a line only the fields that the words ask for: then the reader does not know of what is bad
    elsewhere. A mark that was named and is not there is among its warnings at the end.
    """
    chooser = wanted.chooser(started_at_s(reader), leaves_out, greets_once=greets_once)
    blocks = chooser.blocks()
    if chooser.looks_at_order:
        for record, line in read_from(reader, chooser.begin, blocks=blocks):
            yield from chooser.offer(record, line)
            if chooser.finished:
                return
        reader.warnings.extend(warnings_of(chooser))
        return
    left = wanted.limit
    matching = _matching(reader, chooser.matcher, blocks)
    if leaves_out is not None:
        matching = (each for each in matching if not leaves_out(each[0]))
    if left is None:
        yield from matching
        return
    for chosen in matching:
        yield chosen
        left -= 1
        if left <= 0:
            return


def choose_many(reader: RecordReader, wanted: Selection) -> Iterator[Sequence[Record]]:
    """As `choose`, without the lines; many records at a time where all are wanted."""
    chooser = wanted.chooser(started_at_s(reader))
    matcher = chooser.matcher
    is_simple = matcher.takes_most and not chooser.looks_at_order and wanted.limit is None
    if not is_simple or not isinstance(reader, RecordingReader):
        yield from ((record,) for record, _ in choose(reader, wanted))
        return
    matches = matcher.matches
    for records in reader.in_blocks():
        yield [record for record in records if record.kind == "message" or matches(record)]


NO_MARK = "there is no mark"


def warnings_of(chooser: Chooser) -> list[str]:
    """What to say when a recording has been read to its end: a name is easily misspelt."""
    return [f"{NO_MARK} {name!r} in it" for name in chooser.unseen_marks]


def read_from(
    reader: RecordReader,
    begin: Place | None,
    wanted: Wanted | None = None,
    blocks: BlockChoice | None = None,
) -> Iterator[tuple[Record, bytes]]:
    """Give the records from `begin` on, and maybe some before it, each with its line.

    What stands before it is passed over where that can be done without reading it: not where
    a mark is the place, nor in a pipe or a foreign file. With `wanted`, as in `search`, others
    may be left out, and what an index knows that `blocks` does not choose.
    """
    if not isinstance(reader, RecordingReader):
        return reader.lines()
    is_found = begin is not None and begin.kind != "mark"
    if blocks is None and is_found:
        blocks = BlockChoice({}, begin)
    return reader.search(begin=begin if is_found else None, wanted=wanted, blocks=blocks)


def _matching(
    reader: RecordReader, matcher: Matcher, blocks: BlockChoice | None
) -> Iterator[tuple[Record, bytes]]:
    if not isinstance(reader, RecordingReader):
        return (each for each in reader.lines() if matcher.matches(each[0]))
    if matcher.takes_most:
        matches = matcher.matches
        return (each for each in reader.search() if matches(each[0]))
    needed = matcher.literals()
    if not needed:
        return reader.search(wanted=matcher.glance(), blocks=blocks)
    first = needed[0]
    # Our own recorder writes letters as they are; only in a payload may others have escaped them.
    ours = reader.header is not None and reader.header.tool.startswith("megabot ")
    texts = first.as_we_write() if ours else first.texts
    escapes = first.in_payload or not ours
    return reader.search(
        [text.encode() for text in texts],
        escapes=escapes,
        wanted=matcher.glance(),
        blocks=blocks,
    )


def started_at_s(reader: RecordReader) -> float:
    """When the recording began, in Unix seconds; 0 where its header does not say."""
    try:
        return datetime.fromisoformat(reader.header.started_at if reader.header else "").timestamp()
    except ValueError:
        return 0.0
