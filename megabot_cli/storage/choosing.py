"""The records of a recording that are wanted, in their order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.record_reader import RecordReader


def choose(reader: RecordReader, wanted: Selection) -> Iterator[tuple[Record, bytes]]:
    """Give each record that is wanted with its line, and stop where no other can be."""
    chooser = wanted.chooser(started_at_s(reader))
    for record, line in reader.lines():
        yield from chooser.offer(record, line)
        if chooser.finished:
            return


def started_at_s(reader: RecordReader) -> float:
    """When the recording began, in Unix seconds; 0 where its header does not say."""
    try:
        return datetime.fromisoformat(reader.header.started_at if reader.header else "").timestamp()
    except ValueError:
        return 0.0
