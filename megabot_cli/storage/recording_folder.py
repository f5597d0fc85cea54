"""The folder of recordings: what lies in it, which one a name means, which one a crash left."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from megabot_cli.errors import MegabotError
from megabot_cli.recording.format_v1 import decode_header
from megabot_cli.storage.line_source import first_line_of, open_source
from megabot_cli.storage.segment_writer import PART, is_being_written

# When a recording begins. What was torn before so many others has been told, or nobody asks.
_MOST_LOOKED_AT = 100

_LOOKS_AGAIN = 2
_LOOKS_FOR_LIFE = 4
_HELD_BY_THEN_S = 0.02
_FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_HEADER = re.compile(rb'\s*\{\s*"format"\s*:\s*"megabot-recording"')
_HEADER_BYTES = 128
_SEGMENT = re.compile(r"(?P<number>\d{6,9})\.jsonl(?P<ending>\.part|\.gz|\.zst)?\Z")


def segments_of(folder: Path) -> list[Path]:
    """The segments in the folder of one recording, in order. Links are not followed.

    One that gets another name meanwhile, sealed or packed, may have the one it had.
    """
    found = _listed(folder)
    for _ in range(_LOOKS_AGAIN):
        # A long folder is not read in one go: neither name may have been seen.
        if not found or max(found) - min(found) < len(found):
            break
        found = _listed(folder)
    return [folder / found[number] for number in sorted(found)]


def _listed(folder: Path) -> dict[int, str]:
    """The names of the segments, by number, as the folder itself tells: to look at each file
    would miss one whose name has just changed."""
    found: dict[int, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _SEGMENT.match(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            number = int(match["number"])
            # The shortest name: a sealed segment and not its `.part`.
            found[number] = min(found.get(number, entry.name), entry.name)
    return found


def name_now(segment: Path) -> Path | None:
    """What a segment is called that was there under this name; None where it is gone."""
    number = segment.name.partition(".")[0]
    try:
        segments = segments_of(segment.parent)
    except OSError:
        return None
    return next((each for each in segments if each.name.startswith(f"{number}.")), None)


def is_live(recording: Path, last: Path) -> bool:
    """Whether somebody writes a recording, a folder or one file, of which `last` was the last
    segment when somebody looked.

    The next segment is there before this one has its final name, so whoever looks again and
    finds the same one sealed knows that it is over.
    """
    for _ in range(_LOOKS_FOR_LIFE):
        is_filled = _is_filled(last)  # before it is asked for its holder, who comes first
        if last.suffix == PART and is_being_written(last):
            return True
        now = _last_now(recording, last)
        if now is None or (now == last and last.suffix != PART):
            return False
        if _number(now) > _number(last):
            return True
        if now == last:
            if is_filled:
                return False  # a crash left it
            time.sleep(_HELD_BY_THEN_S)  # it may have been made just now
        last = now
    return False


def _last_now(recording: Path, last: Path) -> Path | None:
    try:
        if not recording.is_dir():
            return name_now(last) if last.suffix == PART else last
        return next(reversed(segments_of(recording)), None)
    except OSError:
        return None


def _number(segment: Path) -> int:
    match = _SEGMENT.match(segment.name)
    return int(match["number"]) if match is not None else 0


def _is_filled(segment: Path) -> bool:
    try:
        return segment.stat().st_size > 0
    except OSError:
        return False


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


def recording_files(folder: Path) -> list[Path]:
    """The single files in `folder` that hold a recording, as `recordings cut` writes them, by
    name; none in the folder of a recording, whose files are its segments.

    They are known by how they begin, and by their ending: what else lies there is not opened.
    """
    try:
        if not folder.is_dir() or segments_of(folder):
            return []
        with os.scandir(folder) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.endswith(_FILES) and entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return []
    return [folder / name for name in names if _has_our_header(folder / name)]


def _has_our_header(file: Path) -> bool:
    """Whether a file begins as a recording does, of whatever version."""
    try:
        with open_source(file) as source:
            return _HEADER.match(source.read(_HEADER_BYTES)) is not None
    except (OSError, MegabotError):
        return False


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
        if last is not None and last.suffix == PART and _is_torn(recording, last):
            told.update(_previous(first) for first in newer)
            newer.clear()
            name = f"{recording.name}/{last.name}"
            if name not in told:
                return name
        newer += segments[:1]
    return None


def _is_torn(recording: Path, last: Path) -> bool:
    """Whether a crash left this `.part`, which nobody has sealed since."""
    return not is_live(recording, last) and last.exists()


def _previous(segment: Path) -> str | None:
    """What the header of a segment names as the one before it."""
    try:
        with open_source(segment) as file:
            line = first_line_of(file)
        return decode_header(line.content or b"").previous if line is not None else None
    except (OSError, MegabotError):
        return None
