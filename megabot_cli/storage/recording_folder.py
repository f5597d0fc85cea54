"""The folder of recordings: what lies in it, which one a name means, which one a crash left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from megabot_cli.errors import MegabotError
from megabot_cli.recording.format_v1 import decode_header
from megabot_cli.storage.line_source import first_line_of, open_source
from megabot_cli.storage.segment_writer import PART, is_being_written

# When a recording begins. What was torn before so many others has been told, or nobody asks.
_MOST_LOOKED_AT = 100

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
    """The torn segment of the newest recording in `folder` that was not sealed and that no later
    one names as its `previous`, as `<id>/<segment>`.

    Recordings that are being written are passed over.
    """
    newer: list[Path] = []
    told: set[str | None] = set()
    for recording in reversed(recording_folders(folder)[-_MOST_LOOKED_AT:]):
        segments = segments_of(recording)
        last = segments[-1] if segments else None  # gone since: others tidy up too
        if last is not None and last.suffix == PART and not is_being_written(last):
            told.update(_previous(first) for first in newer)
            newer.clear()
            name = f"{recording.name}/{last.name}"
            if name not in told:
                return name
        newer += segments[:1]
    return None


def _previous(segment: Path) -> str | None:
    """What the header of a segment names as the one before it."""
    try:
        with open_source(segment) as file:
            line = first_line_of(file)
        return decode_header(line.content or b"").previous if line is not None else None
    except (OSError, MegabotError):
        return None
