"""Which segments have been kept long enough. The oldest go first, and never one that is live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from megabot_cli.storage.index_file import index_bytes, remove_index, remove_leftovers
from megabot_cli.storage.recording_folder import recording_folders, segments_of
from megabot_cli.storage.segment_writer import PART, is_being_written

_DAY_S: Final = 86_400.0


class KeptSegment(msgspec.Struct, frozen=True):
    """One segment: its recording, its size in bytes with its index, and when it was last written
    (Unix time)."""

    recording: str
    path: Path
    bytes: int
    at: float
    live: bool


def kept_segments(folder: Path) -> list[KeptSegment]:
    """All segments of all recordings in `folder`, the oldest first."""
    found = []
    for recording in recording_folders(folder):
        try:
            segments = segments_of(recording)
        except OSError:
            continue
        for path in segments:
            try:
                facts = path.stat()
            except OSError:
                continue  # removed while we looked
            live = path.suffix == PART and is_being_written(path)
            size = facts.st_size + index_bytes(path)
            segment = KeptSegment(recording.name, path, size, facts.st_mtime, live)
            found.append(segment)
    return sorted(found, key=lambda each: (each.at, each.path))


def outlived(
    segments: Iterable[KeptSegment],
    *,
    keep_days: float | None = None,
    keep_bytes: int | None = None,
    now: float | None = None,
) -> list[KeptSegment]:
    """Those to remove, the oldest first; neither limit is None for no limit."""
    ordered = list(segments)
    now = time.time() if now is None else now
    total = sum(each.bytes for each in ordered)
    gone = []
    for each in ordered:
        too_old = keep_days is not None and now - each.at > keep_days * _DAY_S
        too_much = keep_bytes is not None and total > keep_bytes
        if each.live or not (too_old or too_much):
            continue
        gone.append(each)
        total -= each.bytes
    return gone


def remove(
    segments: Iterable[KeptSegment], on_removed: Callable[[KeptSegment], None] | None = None
) -> list[tuple[KeptSegment, OSError]]:
    """Remove them, and folders that are empty then. Returns those that could not be."""
    refused = []
    for each in segments:
        try:
            # In this order, for nobody ever looks for an index that is left alone.
            remove_index(each.path)
            each.path.unlink(missing_ok=True)
            if not segments_of(each.path.parent):
                remove_leftovers(each.path.parent)
            if not any(each.path.parent.iterdir()):
                each.path.parent.rmdir()
        except OSError as fault:
            refused.append((each, fault))
            continue
        if on_removed is not None:
            on_removed(each)
    return refused
