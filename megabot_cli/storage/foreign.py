"""Open whatever holds messages: a recording, a HAR file, or bare messages, one a line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal

from megabot_cli.errors import BadData, MegabotError
from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.derived_header import HOLES
from megabot_cli.recording.format_v1 import NoHeader
from megabot_cli.recording.record import Record
from megabot_cli.storage import line_source
from megabot_cli.storage.index_finding import Seen
from megabot_cli.storage.line_source import cannot_read, open_source
from megabot_cli.storage.more_secrets import NO_MORE, MoreSecrets
from megabot_cli.storage.record_reader import SourceReader
from megabot_cli.storage.recording_folder import name_now, segments_of
from megabot_cli.storage.recording_reader import RecordingReader, open_recording
from megabot_cli.storage.segment_reader import SegmentReader
from megabot_cli.storage.segment_writer import PART, is_being_written

Form = Literal["auto", "recording", "har", "jsonl"]

_LOOKS: Final = 3
_HELD_BY_THEN_S: Final = 0.02
_SNIFFED_BYTES: Final = 4096
_COPIED_BYTES: Final = 256 * 1024
_BOM: Final = rb"(?:\xef\xbb\xbf)?\s*"
_HAR = re.compile(_BOM + rb'\{\s*"log"\s*:')
# Also the records of one that has lost its header: they are no messages.
_RECORDING = re.compile(rb'\s*\{\s*"(?:format"\s*:\s*"megabot|n"\s*:\s*\d+\s*,\s*"t"\s*:)')
# Whatever the first line has become, such a second one no message is.
_RECORDS_FOLLOW = re.compile(rb'[^\n]*\n\s*\{\s*"n"\s*:\s*\d+\s*,\s*"t"\s*:\s*\d+\s*,\s*"kind"\s*:')
_BARE = re.compile(_BOM + rb'[{"]')


def open_any(
    source: Path | str,
    form: Form = "auto",
    *,
    strict: bool = False,
    secrets: MoreSecrets = NO_MORE,
    at_once: bool = False,
    digest: bool = False,
    seen_indexing: Seen = max,
) -> SourceReader:
    """Open a file, the folder of a recording, or `-`; `auto` looks at how it begins.

    Secrets in a HAR file or in bare messages are redacted on the way, `secrets` are more of
    them; a recording is given as it is. `at_once` is for who shows bare messages while they
    come, and keeps none: nothing is held back then to see secrets whole. `digest` is for who
    compares what a recording's segments say of themselves. NotFound and BadData as from
    `open_recording`.
    """
    if source != "-" and Path(source).is_dir():
        if form not in ("auto", "recording"):
            raise BadData(f"{source} is a folder, and no {form} file.", "Name a file in it.")
        segments = _segments(Path(source))
        return _SourceRecording(segments, strict=strict, digest=digest, seen_indexing=seen_indexing)
    file = open_source(source)
    try:
        return _open_file(
            file,
            source,
            form,
            secrets,
            strict=strict,
            at_once=at_once,
            digest=digest,
            seen_indexing=seen_indexing,
        )
    except BaseException:
        file.close()
        raise


def _open_file(
    file: BinaryIO,
    source: Path | str,
    form: Form,
    secrets: MoreSecrets,
    *,
    strict: bool,
    at_once: bool,
    digest: bool,
    seen_indexing: Seen,
) -> SourceReader:
    name = _name_of(source)
    start = _start_of(file)
    found = form_of(start) if form == "auto" else form
    # Most files are recordings: what reads others is loaded, 20 ms, where there is one.
    if found == "har":
        from megabot_cli.storage.har_reader import HarReader

        return HarReader(_seekable(file, name), name, secrets, strict=strict)
    if found == "jsonl":
        from megabot_cli.storage.jsonl_reader import JsonlReader

        return JsonlReader(file, name, secrets, strict=strict, at_once=at_once)
    try:
        return _SourceRecording(
            [source], file, strict=strict, digest=digest, seen_indexing=seen_indexing
        )
    except NoHeader:
        if form == "recording" or start.startswith(b'{"'):
            raise
        raise BadData(
            f"{name} holds neither a recording, nor a HAR file, nor messages one a line.",
            "`megabot recordings list` shows the recordings there are.",
        ) from None


def form_of(start: bytes) -> Form:
    """What a file is that begins so. What is nothing we know is taken for a recording, whose
    reader says what is wrong."""
    if _RECORDING.match(start) or _RECORDS_FOLLOW.match(start):
        return "recording"
    if _HAR.match(start):
        return "har"
    return "jsonl" if _begins_with_message(start) else "recording"


def _begins_with_message(start: bytes) -> bool:
    """Whether the first line is a bare message, or the beginning of one that goes on."""
    if not _BARE.match(start) or b'"megabot-recording"' in start:
        return False
    from megabot_cli.recording.bare_messages import BadMessage, read_line

    line, newline, _ = start.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    try:
        read_line(line.strip())
    except BadMessage:
        return not newline
    return True


class _SourceRecording(RecordingReader):
    """A recording with its header line.

    `opened` is its one file where that was opened already to look at how it begins.
    """

    def __init__(
        self,
        sources: Sequence[Path | str],
        opened: BinaryIO | None = None,
        *,
        strict: bool,
        digest: bool,
        seen_indexing: Seen,
    ) -> None:
        self._opened = opened
        self.lost_at_end: int | None = None
        super().__init__(sources, strict=strict, digest=digest, seen_indexing=seen_indexing)

    @property
    def header_line(self) -> bytes:
        return self._first.header_line

    @property
    def breaks_off(self) -> bool:
        return self.lost_at_end is not None

    def numbered(
        self, begin: Place | None = None, blocks: BlockChoice | None = None
    ) -> Iterator[tuple[Record, bytes, int]]:
        """As `lines`, with how many records are missing before each: by its number, or by the bad
        lines where a label says that holes are meant."""
        with_holes = self.header is not None and HOLES in self.header.labels
        # What comes before the first segment that is left was removed on purpose.
        first = self.header is not None and self.header.segment == 1
        last_n: int | None = 0 if first else None
        lost, segment, is_reached = 0, self._first, begin is None
        for segment in self.segments():
            if not is_reached:  # what is passed over is not lost
                lost, last_n = 0, None
            bad_lines = 0
            is_part = blocks is not None and segment.narrow(blocks)
            reads_on = segment.search(begin=None if is_part else begin)
            for record, line in reads_on if is_part or begin is not None else segment:
                if with_holes:
                    lost += segment.bad_lines - bad_lines
                elif last_n is not None:
                    lost += _missing_between(last_n, record.n, segment.passed)
                bad_lines = segment.bad_lines
                last_n = record.n  # the record is the caller's from here on
                is_reached = is_reached or (begin is not None and begin.reached_by(record))
                yield record, line, lost
                lost = 0
            if with_holes or segment.end is None:
                lost += segment.bad_lines - bad_lines
            elif last_n is not None:
                lost += _missing_between(last_n, segment.end.n, segment.passed)
            if segment.end is not None:  # which has a number too
                last_n = segment.end.n
        self.lost_at_end = self._lost_at_end(segment, lost)

    def _lost_at_end(self, last: SegmentReader, lost: int) -> int | None:
        path = Path(self._sources[-1])
        if last.end is not None or (path.suffix == PART and _goes_on(path)):
            return lost or None
        return lost + (last.torn_bytes > 0)

    def _open(self, source: Path | str) -> SegmentReader:
        if self._opened is None:
            return super()._open(source)
        return self._begin(self._opened, source)


def _goes_on(part: Path) -> bool:
    """Whether it is being written, or was when it was read: it may have been sealed since."""
    for _ in range(_LOOKS):
        if is_being_written(part) or name_now(part) not in (None, part):
            return True
        with contextlib.suppress(OSError):
            if part.stat().st_size:
                return False
        time.sleep(_HELD_BY_THEN_S)  # one that is empty may have been made just now
    return False


def _missing_between(last_n: int, n: int, passed: deque[tuple[int, int]]) -> int:
    """How many numbers are missing between two records; those passed over in between are not,
    and are taken out of `passed`."""
    missing = n - last_n - 1
    while passed and passed[0][1] < n:
        first, last = passed.popleft()
        if first > last_n:
            missing -= last - first + 1
    return max(0, missing)


def _segments(folder: Path) -> list[Path]:
    try:
        segments = segments_of(folder)
    except OSError as fault:
        raise cannot_read(folder, fault) from fault
    if not segments:
        open_recording(folder).close()  # says what the folder is instead
    return segments


def _name_of(source: Path | str) -> str:
    return "standard input" if source == "-" else Path(source).name


def _start_of(file: BinaryIO) -> bytes:
    return file.peek(_SNIFFED_BYTES) if isinstance(file, io.BufferedReader) else b""


def _seekable(file: BinaryIO, name: str) -> BinaryIO:
    """The file itself, or a nameless copy of what only comes once.

    BadData for what is so much that it may have no end.
    """
    if _is_plain_file(file):
        return file
    import tempfile

    copy = tempfile.TemporaryFile()  # noqa: SIM115  the reader closes it
    try:
        while content := file.read(_COPIED_BYTES):
            copy.write(content)
            if copy.tell() > line_source.ENDLESS_BYTES:
                copy.close()
                raise BadData(
                    f"{name} does not end within {line_source.ENDLESS_BYTES // 1024**3} GiB.",
                    "A HAR file that long is read from the disk, not from a pipe or compressed.",
                )
        copy.flush()
    except OSError as fault:
        copy.close()
        raise MegabotError(
            f"The file could not be kept in {tempfile.gettempdir()}: {fault.strerror}",
            "TMPDIR names another folder.",
        ) from fault
    file.close()
    return copy


def _is_plain_file(file: BinaryIO) -> bool:
    raw = getattr(file, "raw", None)
    return isinstance(raw, io.FileIO) and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
