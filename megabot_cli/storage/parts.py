"""What of a recording a part of it, or of another, could hold too: to compare the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from megabot_cli.recording.chosen_label import read_chosen
from megabot_cli.recording.derived_header import CHOSEN, origin_of
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import started_at_s
from megabot_cli.storage.record_reader import RecordReader


def words_that_chose(part: RecordReader) -> str:
    """The words by which what is in it was chosen; empty for what is no part."""
    return part.header.labels.get(CHOSEN, "") if part.header is not None else ""


def what_chose(part: RecordReader, other: RecordReader) -> tuple[Selection, ...] | None:
    """What chose the records of `part`, to be asked of `other` too; None where it cannot be."""
    same_source = _origin(part.header) == _origin(other.header) != ""
    return read_chosen(words_that_chose(part), same_source=same_source)


def only(
    lines: Iterable[tuple[Record, bytes]], reader: RecordReader, chosen: Iterable[Selection]
) -> Iterator[Record]:
    """Those of a reader's records that all of `chosen` take, one after the other."""
    choosers = [each.chooser(started_at_s(reader)) for each in chosen]
    for record, _ in lines:
        if all(chooser.offer(record) for chooser in choosers):
            yield record


def _origin(header: Header | None) -> str:
    return origin_of(header) if header is not None else ""
