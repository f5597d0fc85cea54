"""Read one segment as it is: torn, damaged, still growing, or from another version."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from megabot_cli.errors import BadData
from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import (
    FORMAT,
    BadLine,
    End,
    Header,
    NoHeader,
    decode_block,
    decode_header,
    decode_line,
    starts_as_record,
)
from megabot_cli.recording.record import Record
from megabot_cli.recording.segment_index import SegmentIndex
from megabot_cli.storage.bisection import is_plain, sought
from megabot_cli.storage.index_finding import Seen, find_index
from megabot_cli.storage.line_search import LineSearch
from megabot_cli.storage.line_source import (
    Line,
    first_line_of,
    is_compressed,
    lines_of,
)
from megabot_cli.storage.narrowing import narrowed
from megabot_cli.wording import counted

_HEADER_STARTS: Final = f'{{"format":"{FORMAT}"'.encode()
Wanted = Callable[[bytes], bool]
"""Says of a line whether its record is wanted, as `format_v1.glance` does."""

MOST_WARNINGS: Final = 20  # a file of a million bad lines is not worth a million warnings


class SegmentReader:
    """One segment: its header at once, its records by iteration, then what was found.

    `header` is None where that line is damaged and records follow it all the same.
    `end` is None while the segment is unclean; `at` is the byte at which the line of the last
    record begins. With `digest` the bytes before `end` are
    hashed on the way, for `sha256`. `path` is where it is, if it is a file: an index may lie
    beside it. `passed` are the records that `search` knew by that to pass over, by their first
    and last number. `seen_indexing` as for `narrowing.narrowed`.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        strict: bool,
        digest: bool,
        path: Path | None = None,
        seen_indexing: Seen = max,
    ) -> None:
        self.name = name
        self.path = path
        self.passed: deque[tuple[int, int]] = deque()
        self.header: Header | None = None
        self.header_line = b""
        self.end: End | None = None
        self.end_at: int | None = None
        self.at = 0
        self.records = 0
        self.counts: Counter[str] = Counter()
        self.bad_lines = 0
        self.torn_bytes = 0
        self.lines_after_end = 0
        self.warnings: list[str] = []
        self.sha256: str | None = None
        self._strict = strict
        self._digest = hashlib.sha256() if digest else None
        self._file = file
        self._seen_indexing = seen_indexing
        self._early: list[Line] = []  # read already, to see whether records follow
        line = first_line_of(file)
        self._first_at = line.size if line is not None else 0
        self._read_header(line)

    def _read_header(self, line: Line | None) -> None:
        if line is None:
            self._tear(Line(b"", 0, 0, whole=False))
        elif line.whole or not _is_torn_header(line.content):
            try:
                self.header = decode_header(line.content or b"")
            except NoHeader as fault:
                self._do_without(line, fault)
            except BadData as fault:
                raise BadData(f"{self.name}: {fault.message}", fault.hint) from None
            else:
                self.header_line = line.content or b""
                self._hash(line)
        else:
            self._tear(line)

    def _do_without(self, line: Line, fault: NoHeader) -> None:
        """Go on without a header where records follow, and only there: else it is no recording."""
        if line.content is not None and starts_as_record(line.content):
            self._early.append(line)
            self._lose_header("its header is missing")
            return
        may_follow = line.whole and line.content is not None
        rest = lines_of(self._file, self.name, line.size) if may_follow else iter(())
        following = next(rest, None)
        if following is None or not starts_as_record(following.content or b""):
            raise NoHeader(f"{self.name}: {fault.message}", fault.hint) from None
        self._early.append(following)
        self._hash(line)
        self._lose_header("its header, the line at byte 0, is damaged")

    def _lose_header(self, why: str) -> None:
        self.bad_lines += 1
        self._warn(f"{self.name}: {why}; when it began is not known")

    def __iter__(self) -> Iterator[tuple[Record, bytes]]:
        """Give each record with the exact line it stands on."""
        for line in chain(self._early, lines_of(self._file, self.name, self._read_up_to())):
            record = self._decode(line)
            if isinstance(record, Record):
                self.records += 1
                self.counts[record.kind] += 1
                if self.end is not None:
                    self.lines_after_end += 1
                assert line.content is not None
                self.at = line.offset
                yield record, line.content
            elif record is not None:
                self._close_with(record, line)
            if self.end is None:
                self._hash(line)

    def _read_up_to(self) -> int:
        """Where the file stands before anything is sought in it."""
        return max([self._first_at, *(each.offset + each.size for each in self._early)])

    def search(
        self,
        literals: Sequence[bytes] = (),
        *,
        escapes: bool = True,
        begin: Place | None = None,
        wanted: Wanted | None = None,
        blocks: BlockChoice | None = None,
    ) -> Iterator[tuple[Record, bytes]]:
        """Give the records, with their lines, in whose line one of `literals` may stand.

        In place of iteration, and quicker: nothing is counted or hashed, and of a line that is
        not given nothing is known. Without literals all are, with `wanted` those lines of which
        that is true. `escapes` as in `LineSearch`.
        What is well before `begin`, a time or a number, is passed over where that can be done
        without reading it, and so are parts of which an index says that they hold nothing that
        `blocks` chooses.
        """
        early = (line.content for line in self._early if line.content is not None)
        yield from self._decoded(early if wanted is None else filter(wanted, early))
        whole = self._file
        if not (blocks is not None and self.narrow(blocks)) and begin is not None:
            self._file = sought(self._file, begin)
        begins_at = self._read_up_to() if self._file is whole else None
        search = LineSearch(self._file, literals, escapes=escapes, name=self.name)
        yield from self._decoded(search if wanted is None else filter(wanted, search))
        self._tell_too_long(search)
        if search.rest and (wanted is None or wanted(search.rest)):
            at = None if begins_at is None else begins_at + search.passed_bytes
            yield from self._last(search.rest, at)

    def index(self) -> SegmentIndex | None:
        """The index beside it; None without one that is about it."""
        return find_index(self.path, self._file, self._first_at) if self.path is not None else None

    def narrow(self, blocks: BlockChoice) -> bool:
        """Have `search` read no more than what an index says can hold what is chosen; False where
        there is none, or that is all."""
        if self.path is None or self._strict or self._early:
            return False
        part = narrowed(self.path, self._file, self._first_at, blocks, self._seen_indexing)
        if part is not None:
            self._file, self.passed = part.file, deque(part.passed)
        return part is not None

    def in_blocks(self) -> Iterator[Sequence[Record]]:
        """As `search` gives all records, but many at a time and without their lines."""
        if self._early:
            yield [
                record for record, _ in self._decoded(line.content or b"" for line in self._early)
            ]
        search = LineSearch(self._file, name=self.name)
        for block, end in search.blocks():
            if not end:
                continue
            lines = block[:end]
            records = decode_block(lines)
            if records is None:
                records = [record for record, _ in self._decoded(lines[:-1].split(b"\n"))]
            yield records
        self._tell_too_long(search)
        if search.rest:
            at = self._read_up_to() + search.passed_bytes
            yield [record for record, _ in self._last(search.rest, at)]

    def _decoded(self, lines: Iterable[bytes]) -> Iterator[tuple[Record, bytes]]:
        for content in lines:
            try:
                found = decode_line(content)
            except BadLine as fault:
                self.bad_lines += 1
                self._warn(f"{self.name}: a line is no record: {fault}")
                continue
            if isinstance(found, Record):
                yield found, content
            else:
                self.end = found

    def _tell_too_long(self, search: LineSearch) -> None:
        if search.too_long:
            self.bad_lines += search.too_long
            lines = counted(search.too_long, "line")
            self._warn(f"{self.name}: {lines} longer than a record may be, passed over")

    def _last(self, content: bytes, at: int | None) -> Iterator[tuple[Record, bytes]]:
        """A last line that lacks nothing but its newline was whole enough. It begins at byte `at`;
        None where what stands before it was passed over."""
        try:
            found = decode_line(content)
        except BadLine:
            self.torn_bytes = len(content)
            if is_plain(self._file):
                at = self._file.tell() - len(content)
            # Of a packed file that was not read from its start nobody knows which byte this is.
            where = "in its last line" if at is None else f"at byte {at}"
            self._warn(f"{self.name}: torn {where}; {len(content)} bytes are dropped")
            return
        if isinstance(found, Record):
            yield found, content
        else:
            self.end = found

    def _decode(self, line: Line) -> Record | End | None:
        """The record on a line; None where there is none, which is then counted."""
        if line.content is None:
            self._skip(line, "longer than a record may be")
            return None
        try:
            return decode_line(line.content)
        except BadLine as fault:
            # A line that reads as a record and lacks nothing but its newline was whole enough.
            if line.whole:
                self._skip(line, str(fault))
            else:
                self._tear(line)
        return None

    def _close_with(self, end: End, line: Line) -> None:
        self.end = end
        self.end_at = line.offset
        if self._digest is not None:
            self.sha256 = self._digest.hexdigest()

    def _hash(self, line: Line) -> None:
        if self._digest is not None and line.content is not None:
            self._digest.update(line.content)
            if line.whole:
                self._digest.update(b"\n")

    def _skip(self, line: Line, why: str) -> None:
        self.bad_lines += 1
        self._warn(f"{self.name}: the line at byte {line.offset} is no record: {why}")

    def _tear(self, line: Line) -> None:
        self.torn_bytes = line.size
        if not line.offset and not line.size:
            empty = "nothing could be unpacked" if is_compressed(self._file) else "empty"
            self._warn(f"{self.name}: {empty}, not even a header is in it")
            return
        where = f"at byte {line.offset}"
        if is_compressed(self._file):  # where that is in the file nobody can tell
            where += " of what could be unpacked"
        self._warn(f"{self.name}: torn {where}; {line.size} bytes are dropped")

    def _warn(self, text: str) -> None:
        if self._strict:
            raise BadData(f"{text}.", "Without --strict what can be read is read.")
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)


def _is_torn_header(line: bytes | None) -> bool:
    """Whether a line without its newline is what a crash left of a header."""
    if line is None or not _HEADER_STARTS.startswith(line[: len(_HEADER_STARTS)]):
        return False
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return True
    return False
