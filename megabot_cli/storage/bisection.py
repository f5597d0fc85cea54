"""Find the place in a segment where a time or a number is reached, without reading up to it.

A segment is in order by itself, so it is its own index: halving it some thirty times finds any
place in any file. There is nothing beside it that could be missing, old or forged.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import MAX_LINE_BYTES, BadLine, End, decode_line
from megabot_cli.recording.record import Record

_NEAR_BYTES: Final = 64 * 1024  # so near, reading on is as quick as halving


def seek_to(file: BinaryIO, place: Place) -> None:
    """Put a plain segment, which stands behind its header, at a line at or before the first
    record that has reached `place`. What is out of order is found as if it were in order."""
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
