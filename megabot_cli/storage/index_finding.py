"""The index of a segment: found where it is about what the segment holds, or made anew.

What is wrong with one is as if there were none: who reads the segment without it finds the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from megabot_cli.errors import MegabotError
from megabot_cli.recording.format_v1 import (
    BadLine,
    End,
    decode_block,
    decode_header,
    decode_line,
)
from megabot_cli.recording.record import Record
from megabot_cli.recording.segment_index import (
    BadIndex,
    IndexBuilder,
    SegmentIndex,
    decode_index,
)
from megabot_cli.storage.chosen_ranges import content_bytes
from megabot_cli.storage.compressing import last_lines
from megabot_cli.storage.index_file import (
    index_content,
    index_path,
    remove_index,
    write_index,
)
from megabot_cli.storage.line_search import LineSearch
from megabot_cli.storage.line_source import first_line_of, is_compressed, open_source

WORTH_BUILDING_BYTES: Final = 16 * 1024 * 1024
"""Of a segment that is read through, once, to make one: of what is shorter nobody notices."""

_END_BYTES: Final = 64 * 1024

Seen = Callable[[int, int], object]


def find_index(segment: Path, file: BinaryIO, first_at: int) -> SegmentIndex | None:
    """The index of an open segment, whose first record begins at that byte; None without one
    that is about what the file holds now."""
    size = content_bytes(file)
    if size is None:
        return None
    try:
        content = index_content(segment, size)
        if content is None:
            return None
        index = decode_index(content)
        if index.modified_ns != os.fstat(file.fileno()).st_mtime_ns:
            return None
        end = _end_of(segment, file)
    except (OSError, BadIndex):
        return None
    is_about_it = end is not None and (end.bytes, end.sha256 or "") == (index.bytes, index.sha256)
    begins_there = not index.blocks or index.blocks[0].at == first_at
    return index if is_about_it and begins_there else None


def _end_of(segment: Path, file: BinaryIO) -> End | None:
    """The `end` of an open segment, where it is its last line and stands where it says."""
    size = content_bytes(file)
    if size is None:
        return None
    if is_compressed(file):
        tail = b"".join(line + b"\n" for line in last_lines(segment))
    else:
        tail = os.pread(file.fileno(), _END_BYTES, max(0, size - _END_BYTES))
    line = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    try:
        end = decode_line(line[:-1])
    except BadLine:
        return None
    is_last = isinstance(end, End) and line.endswith(b"\n") and end.bytes == size - len(line)
    return end if isinstance(end, End) and is_last else None


def is_ours(folder: Path) -> bool:
    """Whether a folder is for us alone: what we put there nobody else sees or misses."""
    try:
        facts = folder.stat()
    except OSError:
        return False
    return facts.st_uid == os.geteuid() and not facts.st_mode & 0o077


def build_index(segment: Path, seen: Seen = max) -> SegmentIndex | None:
    """Read a sealed segment through and tell what its blocks hold; None, without reading it, for
    one that is not sealed. `seen` is told now and then how many bytes of how many have passed.

    OSError or MegabotError where it cannot be read.
    """
    with open_source(segment) as file:
        end = _end_of(segment, file)
        first = first_line_of(file)
        if end is None or end.bytes is None or first is None or not first.whole:
            return None
        decode_header(first.content or b"")
        modified_ns = os.fstat(file.fileno()).st_mtime_ns
        builder = IndexBuilder(first.size)
        search = LineSearch(file, name=segment.name)
        for block, length in search.blocks():
            if length:
                _add(builder, block[:length], end.bytes)
                seen(builder.end, end.bytes)
        if search.rest or search.too_long or builder.end != end.bytes:
            builder = IndexBuilder(first.size)  # nothing in it is to be skipped
    return builder.finish(bytes=end.bytes, sha256=end.sha256 or "", modified_ns=modified_ns)


def _add(builder: IndexBuilder, lines: bytes, end_at: int) -> None:
    """Add whole lines but the `end`, which begins there."""
    records = decode_block(lines)
    if records is not None:
        builder.add(len(lines), records)
        return
    for line in lines[:-1].split(b"\n"):
        if builder.end == end_at:
            return
        try:
            found = decode_line(line)
        except BadLine:
            found = None
        if isinstance(found, Record):
            builder.add(len(line) + 1, (found,))
        else:
            builder.add(len(line) + 1, (), odd=1)


def refresh_index(segment: Path, least_bytes: int = WORTH_BUILDING_BYTES) -> None:
    """Give a segment that was just made the index it should have. What fails leaves it without."""
    with contextlib.suppress(OSError, MegabotError):
        remove_index(segment)
        if index_path(segment) is not None and segment.stat().st_size >= least_bytes:
            index = build_index(segment)
            if index is not None:
                write_index(segment, index)
