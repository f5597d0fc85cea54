"""Read recordings, segment after segment, while they are written and kept house of, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from megabot_cli.errors import BadData, NotFound
from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import End
from megabot_cli.recording.record import Record
from megabot_cli.storage.index_finding import Seen
from megabot_cli.storage.line_source import cannot_read, open_source
from megabot_cli.storage.recording_folder import name_now, recording_folders, segments_of
from megabot_cli.storage.segment_reader import MOST_WARNINGS, SegmentReader, Wanted


class RecordingReader(AbstractContextManager["RecordingReader"]):
    """A recording, segment after segment; memory does not grow with it.

    `header` is that of the first segment, None only where a crash tore that very line.
    Iteration gives `Record`s, `lines` also the exact line of each; either can be had once.
    Afterwards `clean`, `warnings`, `bad_lines` and `torn_bytes` say how it went. `end`
    records are not given: they are about the file; the last of them is kept.
    """

    def __init__(
        self,
        sources: Sequence[Path | str],
        *,
        strict: bool = False,
        digest: bool = False,
        seen_indexing: Seen = max,
    ) -> None:
        self._seen_indexing = seen_indexing
        self._sources = list(sources)
        self._strict = strict
        self._digest = digest
        self._file: BinaryIO | None = None
        self.warnings: list[str] = []
        self._first = self._open_first()
        self.header = self._first.header
        self.bad_lines = 0
        self.torn_bytes = 0
        self.end: End | None = None
        self.clean = False  # until it has been read to its end

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[Record]:
        for record, _ in self.lines():
            yield record

    def lines(self) -> Iterator[tuple[Record, bytes]]:
        """Give each record with its line, without the newline: who rewrites copies that."""
        for segment in self.segments():
            yield from segment

    def search(
        self,
        literals: Sequence[bytes] = (),
        *,
        escapes: bool = True,
        begin: Place | None = None,
        wanted: Wanted | None = None,
        blocks: BlockChoice | None = None,
    ) -> Iterator[tuple[Record, bytes]]:
        """As `lines`, but only those in which one of `literals` may stand, and much quicker.

        Of what else is in the recording nothing is known afterwards.
        """
        if self._strict:
            for record, line in self.lines():
                if wanted is None or wanted(line):
                    yield record, line
            return
        for segment in self.segments():
            yield from segment.search(
                literals, escapes=escapes, begin=begin, wanted=wanted, blocks=blocks
            )

    def in_blocks(self) -> Iterator[Sequence[Record]]:
        """As `search` gives all records, but many at a time, without their lines, in two thirds
        of the time."""
        if self._strict:
            yield from ((record,) for record, _ in self.lines())
            return
        for segment in self.segments():
            yield from segment.in_blocks()

    def again(self) -> RecordingReader | None:
        """The same recording from its start, to be closed by itself; None where it comes once."""
        if any(source == "-" or not Path(source).is_file() for source in self._sources):
            return None
        return RecordingReader(
            self._sources, strict=self._strict, seen_indexing=self._seen_indexing
        )

    def segments(self) -> Iterator[SegmentReader]:
        """Give the segments; each is to be read before the next is asked for."""
        clean = True
        for place, source in enumerate(self._sources):
            segment = self._first if place == 0 else self._open_later(source)
            if segment is None:
                clean = False
                continue
            told = len(segment.warnings)  # of its header: some read no further than they need
            self._tell(segment.warnings)
            yield segment
            self.bad_lines += segment.bad_lines
            self.torn_bytes += segment.torn_bytes
            self._tell(segment.warnings[told:])
            self.end = segment.end or self.end
            clean = clean and segment.end is not None and not segment.bad_lines
            self.close()
        self.clean = clean

    def _open_first(self) -> SegmentReader:
        """The first segment that is still there."""
        while len(self._sources) > 1:
            segment = self._open_later(self._sources[0])
            if segment is not None:
                return segment
            del self._sources[0]
        try:
            return self._open(self._sources[0])
        except NotFound:
            now = name_now(Path(self._sources[0]))
            if now is None:
                raise
            return self._open(now)

    def _open_later(self, source: Path | str) -> SegmentReader | None:
        """A segment that was there when the first was opened; None where it is gone since.

        It may have been sealed or packed meanwhile, and have another name for it.
        """
        path = Path(source)
        try:
            return self._open(path)
        except NotFound:
            now = name_now(path)
            if now is not None:
                return self._open(now)
        gone = f"{path.name}: removed while the recording was read"
        if self._strict:
            raise BadData(f"{gone}.", "Without --strict what can be read is read.")
        self._tell([gone])
        return None

    def _tell(self, warnings: Sequence[str]) -> None:
        self.warnings += warnings[: max(0, MOST_WARNINGS - len(self.warnings))]

    def _open(self, source: Path | str) -> SegmentReader:
        return self._begin(open_source(source), source)

    def _begin(self, file: BinaryIO, source: Path | str) -> SegmentReader:
        self._file = file
        try:
            return SegmentReader(
                file,
                "standard input" if source == "-" else Path(source).name,
                strict=self._strict,
                digest=self._digest,
                path=None if source == "-" else Path(source),
                seen_indexing=self._seen_indexing,
            )
        except BadData:
            self.close()
            raise


def open_recording(
    source: Path | str, *, strict: bool = False, digest: bool = False
) -> RecordingReader:
    """Open a segment file, the folder of a recording, or `-` for standard input.

    NotFound when there is none, BadData when it is none or needs a newer megabot. With
    `strict` BadData is also raised, while reading, at the first line that is torn or bad.
    """
    if source == "-":
        return RecordingReader(["-"], strict=strict, digest=digest)
    path = Path(source)
    if not path.is_dir():
        return RecordingReader([path], strict=strict, digest=digest)
    try:
        segments = segments_of(path)
        inner = [] if segments else recording_folders(path)
    except OSError as fault:
        raise cannot_read(path, fault) from fault
    if not segments:
        listed = "Name one that `megabot recordings list` shows."
        hint = f"It holds recordings; name one, such as {inner[-1]}." if inner else listed
        raise NotFound(f"{path} is not the folder of one recording.", hint)
    return RecordingReader(segments, strict=strict, digest=digest)
