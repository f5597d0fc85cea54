"""Write what a reader gives as something else: HAR, bare messages, or a recording of its own."""

from __future__ import annotations

import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from megabot_cli.errors import WrongUsage
from megabot_cli.protocol.ids import make_id
from megabot_cli.recording import har
from megabot_cli.recording.bare_messages import write_line
from megabot_cli.recording.chosen_label import chosen_label, narrowed_label
from megabot_cli.recording.derived_header import CHOSEN, HOLES, MADE_FROM, derived_header
from megabot_cli.recording.line_edit import edit_line
from megabot_cli.recording.pytest_text import Expect, PytestWriter
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.selection import Selection
from megabot_cli.recording.transcript import transcript
from megabot_cli.storage.choosing import started_at_s
from megabot_cli.storage.losses import EVERYTHING, gap_at_end
from megabot_cli.storage.record_reader import RecordReader, SourceReader
from megabot_cli.storage.sealed_segment import SealedSegment, Write
from megabot_cli.storage.served_recording import KeptPayloads
from megabot_cli.version import __version__

Lines = Iterable[tuple[Record, bytes]]
TOOL = f"megabot {__version__}"

# A HAR file without a URL is refused by those who read it; RFC 2606 keeps this name free.
_UNKNOWN = "ws://unknown.invalid/"


class Converted(msgspec.Struct):
    """How many records were written, and of what kind those were that had no place."""

    written: int = 0
    left_out: Counter[str] = msgspec.field(default_factory=Counter)

    def count(self, record: Record, *, written: bool) -> None:
        if written:
            self.written += 1
        else:
            has_payload = record.data is not None or record.data_b64 is not None
            binary = record.kind == "message" and has_payload
            self.left_out["binary message" if binary else record.kind] += 1


def new_recording_id() -> str:
    return make_id("rec", time.time_ns() // 1_000_000, os.urandom(5))


def write_bare(lines: Lines, write: Write) -> Converted:
    """The text messages by themselves, one a line."""
    converted = Converted()
    for record, _ in lines:
        line = write_line(record)
        if line is not None:
            write(line + b"\n")
        converted.count(record, written=line is not None)
    return converted


def write_part(
    source: SourceReader,
    lines: Lines,
    write: Write,
    made_by: str,
    wanted: Selection = EVERYTHING,
    *,
    recording: str | None = None,
) -> Converted:
    """A sealed recording of some lines, each as it stands in the source, its number included.

    Labels tell `made_by`, by which words they were `wanted`, and that holes in the numbers are
    meant: what was lost is among the lines, as `with_losses` gives them. `recording` is its id
    where it has one already, that of the folder it lies in: it takes the place of the source,
    which it does not name then.
    """
    chosen = _chosen(source, wanted)
    labels = {"made_by": made_by, HOLES: made_by, **({CHOSEN: chosen} if chosen else {})}
    segment = _segment(source, write, labels, recording)
    for record, line in lines:
        segment.add(record, line)
    segment.seal()
    return Converted(segment.records)


def _chosen(source: SourceReader, wanted: Selection) -> str:
    before = source.header.labels.get(CHOSEN) if source.header is not None else None
    return label_of(wanted, before, started_at_s(source))


def label_of(wanted: Selection, before: str | None, started_at_s: float) -> str:
    """The words that chose; not those that name what looks like a secret."""
    label = chosen_label(wanted, before, started_at_s)
    is_clean = Redactor(os.urandom(32)).clean(label) == label
    return label if is_clean else narrowed_label(before)


def write_whole(source: SourceReader, write: Write, seen: Callable[[int], object]) -> Converted:
    """A sealed recording, in one segment, of all there is. Holes stay holes: they prove a loss.

    `seen` is told now and then how many more records have passed.
    """
    segment = _segment(source, write, {"made_by": "convert"})
    n = 0
    for record, line, lost in source.numbered():
        n += 1 + lost
        if n != record.n:  # the `end` of a segment before had a number too
            record.n, line = n, edit_line(line, {"n": n})
        segment.add(record, line)
        if segment.records % 1000 == 0:
            seen(1000)
    for gap, line in gap_at_end(n + 1, segment.last_t, source):
        segment.add(gap, line)
    segment.seal()
    return Converted(segment.records)


def _segment(
    source: SourceReader, write: Write, labels: dict[str, str], recording: str | None = None
) -> SealedSegment:
    unnamed: dict[str, Any] = {}
    if recording is not None:
        unnamed = {"without": (MADE_FROM,), "previous": None}
    recording = recording or new_recording_id()
    header = derived_header(
        source.header_line, recording=recording, tool=TOOL, labels=labels, **unnamed
    )
    return SealedSegment(write, header)


def write_har(source: RecordReader, lines: Lines, write: Write) -> Converted:
    """A HAR file with an entry for each connection upstream.

    The messages of all connections come mixed and leave one connection after the other, so
    they are kept aside meanwhile, in memory up to 64 MiB and else in a nameless file.
    """
    header = source.header
    started_us = har.unix_us(header.started_at) if header is not None else None
    kept = KeptPayloads()
    try:
        connections = _Connections(kept, started_us or 0, (header and header.upstream) or _UNKNOWN)
        converted = Converted()
        for record, _ in lines:
            converted.count(record, written=connections.take(record))
        connections.write(write)
    finally:
        kept.close()
    return converted


class _Connections:
    """The connections of a recording, and where the messages of each are kept."""

    def __init__(self, kept: KeptPayloads, started_us: int, url: str) -> None:
        self._kept = kept
        self._started_us = started_us
        self._url = url
        self._found: dict[str, tuple[har.Connection, array[int]]] = {}

    def take(self, record: Record) -> bool:
        """Keep a message; False for a record that is none."""
        at_us = self._started_us + record.t
        message = har.encode_message(record, at_us)
        lane = record.link or record.session or record.client
        if lane is None and message is None:
            return False
        connection, places = self._connection(lane or "", record, at_us)
        connection.ended_us = max(connection.ended_us, at_us)
        if message is None:
            return False
        places.append(self._kept.keep("text", message))
        return True

    def _connection(
        self, lane: str, record: Record, at_us: int
    ) -> tuple[har.Connection, array[int]]:
        found = self._found.get(lane)
        if found is None:
            connection = har.Connection(self._url, at_us, at_us, record.link)
            found = self._found[lane] = (connection, array("q"))
        return found

    def write(self, write: Write) -> None:
        write(har.document_start(TOOL))
        comma = b"\n"
        for connection, places in self._found.values():
            if places:
                write(comma + har.entry_start(connection))
                for number, place in enumerate(places):
                    write((b",\n" if number else b"\n") + self._kept.read(place)[1])
                write(har.ENTRY_END)
                comma = b",\n"
        write(har.DOCUMENT_END)


def watched(
    lines: Lines, seen: Callable[[int], object], every: int = 1000
) -> Iterator[tuple[Record, bytes]]:
    """The same lines; `seen` is told now and then how many more have passed."""
    for count, each in enumerate(lines, 1):
        yield each
        if count % every == 0:
            seen(every)


def write_transcript(source: RecordReader, lines: Lines, write: Write) -> Converted:
    """The conversation as Markdown."""
    converted = Converted()
    for piece in transcript(source.header, _counted(lines, converted)):
        write(piece.encode("utf-8", "replace"))
    return converted


def write_pytest(
    source: RecordReader, lines: Lines, write: Write, expect: Expect, *, allow_tools: bool
) -> Converted:
    """The conversation as a test. WrongUsage where it holds no request, or flat ones."""
    converted = Converted()
    writer = PytestWriter(expect, allow_tools=allow_tools)
    for piece in writer.write(source.header, _counted(lines, converted)):
        write(piece.encode("utf-8", "backslashreplace"))
    if writer.flat:
        raise WrongUsage(
            "It is of the flat dialect, and a test speaks in envelopes.",
            "`megabot replay` sends it again and compares the answers.",
        )
    if not writer.requests:
        raise WrongUsage(
            "There is no request to make a test of.",
            "Tool calls are left out without --allow-tools." if writer.held_back else None,
        )
    if writer.held_back:
        converted.left_out["request"] = writer.held_back
    return converted


def _counted(lines: Lines, converted: Converted) -> Iterator[Record]:
    for record, _ in lines:
        converted.written += 1
        yield record
