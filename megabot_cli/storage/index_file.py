"""The file `000001.index` beside a sealed segment: where it is, how it is written and removed."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path
from typing import Final

import msgspec

from megabot_cli.recording.format_v1 import End
from megabot_cli.recording.segment_index import STARTS, IndexBuilder, SegmentIndex, encode_index
from megabot_cli.storage.private_files import is_held, replace_private

INDEX: Final = ".index"
UNFINISHED: Final = f".*{INDEX}.*"
LEAST_BYTES: Final = 1024 * 1024
"""Of a segment that has an index: what is shorter is read as quickly as one."""

_OF_RECORDING = re.compile(r"\d{6,9}\.index\Z")
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\Z")  # as `replace_private` names it
_LOCKED_BY_THEN_S: Final = 10.0
_LEFT_BEHIND_S: Final = 3600.0
_SEGMENT: Final = ".jsonl"
_PACKED: Final = ".zst"
_MOST_BYTES: Final = 16 * 1024 * 1024
_SPARE_BYTES: Final = 64 * 1024  # beyond its share of a short segment


def index_path(segment: Path) -> Path | None:
    """Where the index of a sealed segment is, packed or not; None for what can have none."""
    name = segment.name.removesuffix(_PACKED)
    return segment.with_name(name[: -len(_SEGMENT)] + INDEX) if name.endswith(_SEGMENT) else None


def index_bytes(segment: Path) -> int:
    """The size of the index beside a segment; 0 where there is none."""
    path = index_path(segment)
    with contextlib.suppress(OSError):
        return path.lstat().st_size if path is not None and _is_index(path) else 0
    return 0


def remove_index(segment: Path) -> None:
    """Remove the index of a segment that is gone, or another by now. OSError where the system
    refuses."""
    path = index_path(segment)
    if path is not None and _is_index(path):
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the indexes in the folder of a recording without segments, and what was left when
    somebody was killed who wrote one. OSError where the system refuses."""
    for left in (*folder.glob(f"*{INDEX}"), *folder.glob(UNFINISHED)):
        if left.match(UNFINISHED) or _is_index(left):
            left.unlink(missing_ok=True)


def is_left_behind(unfinished: Path) -> bool:
    """Whether who wrote this index, which never got its name, was killed: nobody holds it, or it
    is an hour old, where nobody can know. False for what is gone. OSError where the system
    refuses."""
    try:
        age_s = time.time() - unfinished.lstat().st_mtime
    except FileNotFoundError:
        return False
    # For an instant it is there and not yet locked.
    return age_s > _LEFT_BEHIND_S or (age_s > _LOCKED_BY_THEN_S and not is_held(unfinished))


def _remove_left_behind(path: Path) -> None:
    """Remove what was to become this index, or another of the recording, and never will."""
    is_of_recording = _OF_RECORDING.match(path.name) is not None
    for left in path.parent.glob(UNFINISHED):
        begun = _UNFINISHED.match(left.name)
        name = begun["name"] if begun is not None else ""
        is_ours = name == path.name or (is_of_recording and _OF_RECORDING.match(name))
        if is_ours and is_left_behind(left):
            left.unlink(missing_ok=True)


def write_index(segment: Path, index: SegmentIndex) -> None:
    """Put the index beside its segment. OSError where the disk refuses; what is there under that
    name and is no index stays. One that would be longer than it may tells of no block. None is
    left of a segment that was removed meanwhile, packed or not, nor what others began and were
    killed (`is_left_behind`)."""
    path = index_path(segment)
    if path is None or (os.path.lexists(path) and not _is_index(path)):
        return
    if not _is_there(segment):
        return
    content = encode_index(index)
    if len(content) > _most_bytes(index.bytes):
        content = encode_index(msgspec.structs.replace(index, values={}, blocks=[]))
    with contextlib.suppress(OSError):
        _remove_left_behind(path)
    replace_private(path, content, held=True)
    if not _is_there(segment):
        remove_index(segment)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # where it was all there was of a recording


def _is_there(segment: Path) -> bool:
    plain = segment.with_name(segment.name.removesuffix(_PACKED))
    return plain.exists() or plain.with_name(plain.name + _PACKED).exists()


def _most_bytes(segment_bytes: int) -> int:
    """How long an index may be: who reads one keeps it in memory."""
    return min(_MOST_BYTES, segment_bytes // 80 + _SPARE_BYTES)


def write_index_of_sealed(segment: Path, end: End, builder: IndexBuilder) -> None:
    """The same for a segment that was just sealed with this `end`, unless it is a short one."""
    if end.bytes is not None and end.bytes >= LEAST_BYTES:
        facts = segment.stat()
        write_index(
            segment,
            builder.finish(bytes=end.bytes, sha256=end.sha256 or "", modified_ns=facts.st_mtime_ns),
        )


def _is_index(path: Path) -> bool:
    """Whether it is a file that has a name no other has, or that begins like an index."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        is_named_so = _OF_RECORDING.match(path.name) is not None
        return is_named_so or os.read(descriptor, len(STARTS)) == STARTS
    finally:
        os.close(descriptor)


def index_text(segment: Path) -> str | None:
    """What stands in the index beside a segment, be it right or wrong."""
    path = index_path(segment)
    if path is None or not _is_index(path):
        return None
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(_MOST_BYTES).decode("utf-8", "replace")
    return None


def index_content(segment: Path, segment_bytes: int) -> bytes | None:
    """The bytes of the index beside a segment that has so many, unpacked; None where there is none,
    or it is longer than it may be. OSError where it cannot be read."""
    path = index_path(segment)
    if path is None:
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        most = _most_bytes(segment_bytes)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > most:
            return None
        return file.read(most)
