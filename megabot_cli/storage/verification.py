"""Check a recording: is all there, in order, unchanged, and free of secrets?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from megabot_cli.recording.derived_header import HOLES
from megabot_cli.recording.format_v1 import End, encode_record
from megabot_cli.recording.held_streams import HeldStreams, Ready
from megabot_cli.recording.index_check import IndexCheck
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.stream_redaction import Cleaned
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.foreign_reader import ForeignReader
from megabot_cli.storage.index_file import index_text
from megabot_cli.storage.more_secrets import MoreSecrets
from megabot_cli.storage.recording_folder import is_live, segments_of
from megabot_cli.storage.recording_reader import RecordingReader
from megabot_cli.storage.segment_reader import SegmentReader

_MOST_PROBLEMS: Final = 50
_NOT_TOLD: Final = ("sequence", "counts", "sha256")


class Verification(msgspec.Struct, kw_only=True):
    """What a check found.

    `clean`: every segment is sealed and nothing is missing, torn, changed or out of order.
    Loss that the recording itself admits (`gaps`, `lost`) does not make it unclean, nor what
    was `left_out` of one that its labels call a part of another;
    segments of another recording (`foreign_segments`) do.
    `sha256_ok` and `counts_ok` are None when no segment has an `end` to compare with, `index_ok`
    when none has an index that is about it;
    `secrets_found` is None when nobody looked. `problems` tells people, at most fifty.

    A HAR file or bare messages (`form`) are clean when all of them can be read. What only a
    recording can prove is `not_told`: then `sealed` is False, and there are no holes.
    """

    path: str
    form: Literal["recording", "har", "jsonl"] = "recording"
    not_told: list[str] = []
    recording: str | None = None
    clean: bool = False
    sealed: bool = True
    live: bool = False
    segments: int = 0
    records: int = 0
    messages: int = 0
    bytes: int = 0
    duration_s: float = 0.0
    redactions: int = 0
    gaps: int = 0
    lost: int = 0
    holes: int = 0
    left_out: int = 0
    time_went_back: int = 0
    foreign_segments: int = 0
    bad_lines: int = 0
    torn_bytes: int = 0
    sha256_ok: bool | None = None
    counts_ok: bool | None = None
    index_ok: bool | None = None
    secrets_found: int | None = None
    problems: list[str] = []


def verify(
    source: Path | str,
    *,
    secrets: bool = False,
    keys: Sequence[str] = (),
    patterns: Sequence[str] = (),
) -> Verification:
    """Read a recording, or a HAR file or bare messages, from end to end. NotFound or BadData when
    there is none to read.

    With `secrets` every line is searched for what redaction would have replaced, and
    every streamed answer as a whole; `keys` and `patterns` are the operator's own, as for the
    recorder.
    """
    redactor = Redactor(b"only to look, never to write", keys, patterns) if secrets else None
    check = _Check(Verification(path=str(source)), redactor)
    found = check.found
    with open_any(source, secrets=MoreSecrets(keys, patterns), digest=True) as reader:
        if isinstance(reader, ForeignReader):
            check.foreign(reader)
            return found
        assert isinstance(reader, RecordingReader)
        for segment in reader.segments():
            check.segment(segment)
    check.end()
    found.live = _is_live(source, found.segments)
    found.clean = (
        found.sealed
        and not found.live
        and not (found.holes or found.time_went_back or found.foreign_segments)
        and not (found.bad_lines or found.torn_bytes)
        and found.sha256_ok is not False
        and found.counts_ok is not False
        and found.index_ok is not False
    )
    return found


class _Check:
    """The check as it goes from record to record."""

    def __init__(self, found: Verification, redactor: Redactor | None) -> None:
        self.found = found
        self._redactor = redactor
        self._streams = HeldStreams(redactor) if redactor is not None else None
        self._n: int | None = None
        self._is_part = False
        self._t = 0
        self._went_back_in: str | None = None
        if redactor is not None:
            found.secrets_found = 0

    def segment(self, segment: SegmentReader) -> None:
        found = self.found
        found.segments += 1
        self._begin(segment)
        index = segment.index()
        index_check = IndexCheck(index) if index is not None else None
        for record, line in segment:
            if index_check is not None:
                index_check.take(record, segment.at)
            self._number(record.n, record.t, segment.name)
            self._count(record)
            if self._streams is not None:
                self._seek_in(self._streams.add(record, line))
        found.records += segment.records
        found.bad_lines += segment.bad_lines
        found.torn_bytes += segment.torn_bytes
        for warning in segment.warnings:
            self._problem(warning)
        if segment.end is None:
            found.sealed = False
            self._problem(f"{segment.name}: unclean, it has no end")
        else:
            self._number(segment.end.n, segment.end.t, segment.name)
            self._compare(segment, segment.end)
        if index_check is not None:
            self._judge_index(segment, index_check)

    def foreign(self, reader: ForeignReader) -> None:
        """Read a foreign file: nothing in it tells whether all that there was is there."""
        found = self.found
        found.form, found.not_told, found.sealed = reader.form, list(_NOT_TOLD), False
        has_messages = reader.form != "jsonl"
        for record in reader.as_they_stand():
            found.records += 1
            # Any JSON object may have travelled; where none tells its type people should know.
            has_messages = has_messages or record.type is not None or (record.data or "")[:1] != "{"
            found.duration_s = record.t / 1e6
            self._count(record)
            if self._streams is not None:
                self._seek_in(self._streams.add(record, encode_record(record)[:-1]))
        self.end()
        if self._redactor is not None:
            for where, text in reader.around():
                for _ in self._redactor.redact_text(text)[1]:
                    self._secret(f"beside the messages: a secret at {where}")
        found.bad_lines, found.torn_bytes = reader.bad_lines, reader.torn_bytes
        found.clean = reader.clean
        if found.records and not has_messages:
            self._problem(f"{reader.name}: none of its objects has a type; are they messages?")
        for warning in reader.warnings:
            self._problem(warning)

    def end(self) -> None:
        """All segments were given: look at the streams that did not end."""
        if self._streams is not None:
            self._seek_in(self._streams.rest())

    def _seek_in(self, lines: Iterable[Ready]) -> None:
        for record, line, cleaned in lines:
            self._seek_secrets(f"record {record.n}", line, record, cleaned)

    def _begin(self, segment: SegmentReader) -> None:
        header = segment.header
        if header is None:
            return
        if self.found.recording is None:
            self.found.recording = header.recording
            self._is_part = HOLES in header.labels
            # A recording whose first segments were removed does not begin with 1.
            self._n = 0 if header.segment == 1 else None
        elif header.recording != self.found.recording:
            self.found.foreign_segments += 1
            self._problem(f"{segment.name}: belongs to another recording, {header.recording}")
        if self._redactor is not None:
            self._seek_secrets(f"{segment.name}: header", segment.header_line, None)
            index = index_text(segment.path) if segment.path is not None else None
            for _ in self._redactor.redact_text(index)[1] if index is not None else ():
                self._secret(f"{segment.name}: a secret in its index")

    def _number(self, n: int, t: int, name: str) -> None:
        if self._is_part and n > (self._n or 0):
            self.found.left_out += n - (self._n or 0) - 1
        elif self._n is not None and n != self._n + 1:
            self.found.holes += max(1, n - self._n - 1)
            self._problem(f"{name}: record {n} follows record {self._n}")
        if t < self._t:
            self.found.time_went_back += 1
            if self._went_back_in != name:  # all that follow may be behind as well
                self._problem(f"{name}: at record {n} time goes back")
            self._went_back_in = name
        self._n, self._t = n, max(t, self._t)
        self.found.duration_s = self._t / 1e6

    def _count(self, record: Record) -> None:
        self.found.messages += record.kind in ("message", "inject")
        self.found.bytes += record.size or 0
        self.found.redactions += len(record.redacted or ())
        if record.kind == "gap":
            self.found.gaps += 1
            self.found.lost += record.lost or 0

    def _compare(self, segment: SegmentReader, end: End) -> None:
        same_bytes = end.sha256 == segment.sha256 and end.bytes == segment.end_at
        same_counts = (
            end.records == segment.records
            and (end.counts or {}) == dict(segment.counts)
            and not segment.lines_after_end
        )
        self.found.sha256_ok = same_bytes and self.found.sha256_ok is not False
        self.found.counts_ok = same_counts and self.found.counts_ok is not False
        if not same_bytes:
            self._problem(f"{segment.name}: was changed after it was sealed (sha256 differs)")
        if not same_counts:
            self._problem(f"{segment.name}: holds other records than its end says")

    def _judge_index(self, segment: SegmentReader, check: IndexCheck) -> None:
        check.end(segment.bad_lines)
        self.found.index_ok = check.lie is None and self.found.index_ok is not False
        if check.lie is not None:
            self._problem(
                f"{segment.name}: its index does not say what stands at byte {check.lie} and "
                "behind; without it, the segment is searched as it is"
            )

    def _seek_secrets(
        self, where: str, line: bytes, record: Record | None, cleaned: Cleaned | None = None
    ) -> None:
        assert self._redactor is not None
        _, places = self._redactor.redact_text(line.decode("utf-8", "replace"))
        if record is not None and record.data_b64 is not None:
            payload = record.payload()
            if isinstance(payload, bytes) and self._redactor.redact_binary(payload) is not None:
                places.append("$.data_b64")
        places += cleaned.paths if cleaned is not None else []
        for place in places:
            self._secret(f"{where}: a secret at {place}")

    def _secret(self, text: str) -> None:
        self.found.secrets_found = (self.found.secrets_found or 0) + 1
        self._problem(text)

    def _problem(self, text: str) -> None:
        if len(self.found.problems) < _MOST_PROBLEMS:
            self.found.problems.append(text)


def _is_live(source: Path | str, read: int) -> bool:
    """Whether it is being written; what was the last of the segments that were `read` may have
    been sealed meanwhile."""
    if source == "-":
        return False
    path = Path(source)
    try:
        segments = segments_of(path) if path.is_dir() else [path]
    except OSError:
        return False  # removed meanwhile
    return len(segments) > read or (bool(segments) and is_live(path, segments[-1]))
