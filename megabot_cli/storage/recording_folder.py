"""The folder of recordings: what lies in it, which one a name means, which one a crash left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from megabot_cli.storage.segment_writer import PART, is_being_written

_SEGMENT = re.compile(r"(?P<number>\d{6,9})\.jsonl(?P<ending>\.part|\.gz|\.zst)?\Z")


def segments_of(folder: Path) -> list[Path]:
    """The segments in the folder of one recording, in order. Links are not followed."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _SEGMENT.match(path.name)
        if match is not None and path.is_file() and not path.is_symlink():
            # Sorted, so a sealed segment stands before a `.part` of its number and is kept.
            found.setdefault(int(match["number"]), path)
    return [found[number] for number in sorted(found)]


def is_sealed(recording: Path) -> bool:
    """Whether the last segment in the folder of a recording has its end; False if none is left."""
    try:
        segments = segments_of(recording)
    except OSError:
        return False
    return bool(segments) and segments[-1].suffix != PART


def recording_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold a recording we may read, by name: ids sort by time."""
    return [path for path in _subfolders(folder) if _holds_segments(path)]


def _holds_segments(folder: Path) -> bool:
    try:
        return bool(segments_of(folder))
    except OSError:
        return False  # somebody else's, or gone since


def _subfolders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()
        )


def unclean_end(folder: Path) -> str | None:
    """The torn segment that the latest recording in `folder` ended with, as `<id>/<segment>`.

    None when that recording was sealed. Recordings that are being written are passed over.
    """
    for recording in reversed(recording_folders(folder)):
        last = segments_of(recording)[-1]
        if last.suffix != PART:
            return None
        if not is_being_written(last):
            return f"{recording.name}/{last.name}"
    return None
