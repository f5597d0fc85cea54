"""Find the place in a segment where a time or a number is reached, without reading up to it.

A segment is in order by itself, so it is its own index: halving it some thirty times finds any
place in any file. There is nothing beside it that could be missing, old or forged.
"""

from __future__ import annotations

import io
from typing import BinaryIO, Final

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import MAX_LINE_BYTES, BadLine, End, decode_line
from megabot_cli.recording.record import Record
from megabot_cli.storage.line_source import Decompressed

_NEAR_BYTES: Final = 64 * 1024  # so near, reading on is as quick as halving
_LOOK_BYTES: Final = 4 * 1024 * 1024  # unpacked of a frame before it is given up as a landmark


def sought(file: BinaryIO, place: Place) -> BinaryIO:
    """A segment, given behind its header, to be read from a line at or before the first record
    that has reached `place`. What is out of order is found as if it were in order.

    Where nothing can be passed over, as in a pipe, it is `file` as it stands.
    """
    raw = getattr(file, "raw", None)
    if isinstance(raw, Decompressed):
        return _sought_frame(raw, place) or file
    if is_plain(file):
        _seek(file, place)
    return file


def is_plain(file: BinaryIO) -> bool:
    """Whether it is a file as it lies on the disk: not a pipe, and not unpacked on the way."""
    return isinstance(getattr(file, "raw", None), io.FileIO) and file.seekable()


def _sought_frame(packed: Decompressed, place: Place) -> BinaryIO | None:
    """The last frame whose first record stands before `place`, behind its first newline.

    Others than we cut frames in the middle of a line: only behind a newline a line begins. A
    frame without a record before the place, or a damaged one, is never begun with.
    """
    starts = packed.frame_starts()
    low, high = 0, len(starts)
    found = None
    while high - low > 1:
        middle = (low + high) // 2
        file = packed.from_frame(starts[middle])
        if _begins_before(file, place):
            low, found = middle, starts[middle]
        else:
            high = middle
    if found is None:
        return None
    file = packed.from_frame(found)
    file.readline(_LOOK_BYTES)
    return file


def _begins_before(file: BinaryIO, place: Place) -> bool:
    """Whether the first record behind the first newline is near, and has not reached `place`."""
    line = file.readline(_LOOK_BYTES)
    left = _LOOK_BYTES - len(line)
    while line.endswith(b"\n") and left > 0:
        line = file.readline(left)
        left -= len(line)
        try:
            return not _reached(decode_line(line.rstrip(b"\n")), place)
        except BadLine:
            continue
    return False


def _seek(file: BinaryIO, place: Place) -> None:
    low = file.tell()
    high = file.seek(0, 2)
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        start, record = _record_from(file, middle, high)
        if record is None or _reached(record, place):
            high = middle
        else:
            low = start
    file.seek(low)


def _reached(record: Record | End, place: Place) -> bool:
    return (record.t if place.kind == "offset" else record.n) >= place.value


def _record_from(file: BinaryIO, offset: int, end: int) -> tuple[int, Record | End | None]:
    """The first record whose line begins behind `offset`, and where it does."""
    file.seek(offset)
    file.readline(MAX_LINE_BYTES)
    while (start := file.tell()) < end:
        line = file.readline(MAX_LINE_BYTES)
        if not line:
            break
        try:
            return start, decode_line(line.rstrip(b"\n"))
        except BadLine:
            continue
    return end, None
