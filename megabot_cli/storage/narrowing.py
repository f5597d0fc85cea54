"""Read of a segment what its index says can be wanted, and make the index where it is missing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from megabot_cli.errors import MegabotError
from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.segment_index import SegmentIndex
from megabot_cli.storage.chosen_ranges import content_bytes, ranges_of
from megabot_cli.storage.index_file import index_path, write_index
from megabot_cli.storage.index_finding import (
    WORTH_BUILDING_BYTES,
    Seen,
    build_index,
    find_index,
    is_ours,
)


class Narrowed(NamedTuple):
    """What to read instead of a segment behind its header, and which records that leaves out, by
    their first and last number, in order."""

    file: BinaryIO
    passed: list[tuple[int, int]]


def narrowed(
    segment: Path, file: BinaryIO, first_at: int, blocks: BlockChoice, seen: Seen
) -> Narrowed | None:
    """The part of an open segment, whose first record begins at that byte, that can hold what
    `blocks` chooses, with its `end`; None where that is all, or nobody can tell.

    An index that is missing and worth it is made first, quietly, in a folder of our own; `seen`
    as for `build_index`.
    """
    if index_path(segment) is None:
        return None
    index = find_index(segment, file, first_at)
    if index is None and blocks.needs_index:
        index = _made(segment, file, seen)
    reading = blocks.reading(index) if index is not None else None
    size = content_bytes(file)
    if index is None or reading is None or size is None:
        return None
    return Narrowed(ranges_of(file, [*reading.ranges, (index.bytes, size)]), reading.passed)


def _made(segment: Path, file: BinaryIO, seen: Seen) -> SegmentIndex | None:
    size = content_bytes(file)
    if size is None or size < WORTH_BUILDING_BYTES or not is_ours(segment.parent):
        return None
    index = None
    with contextlib.suppress(OSError, MegabotError):
        try:
            index = build_index(segment, seen)
        finally:
            seen(size, size)  # whatever became of it, it is over
        if index is not None:
            write_index(segment, index)
    return index
