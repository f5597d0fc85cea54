"""Make a sealed segment small: `000001.jsonl` becomes `000001.jsonl.zst`, in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from megabot_cli.storage.segment_writer import sync_folder

ENDING: Final = ".zst"
UNFINISHED: Final = ".zst.unfinished"  # no reader takes it for a segment

LAST_FRAME_BYTES: Final = 32 * 1024
_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_LEVEL: Final = 3
_FRAME_BYTES: Final = 4 * 1024 * 1024  # a torn file loses one frame at most


def compress(path: Path) -> Path:
    """Compress a sealed segment and remove the plain one; return the new file.

    At every moment one of the two is there, whole. OSError when the disk refuses: then the
    plain one is as it was.
    """
    import zstandard

    target = path.with_name(path.name + ENDING)
    unfinished = path.with_name(path.name + UNFINISHED)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    try:
        with path.open("rb") as plain, os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
            for lines in _frames(plain, path.stat().st_size):
                file.write(compressor.compress(lines))
            file.flush()
            os.fsync(file.fileno())
        # The age of a segment is when it was sealed.
        facts = path.stat()
        os.utime(unfinished, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        unfinished.rename(target)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    path.unlink()
    return target


def _frames(plain: BinaryIO, size: int) -> Iterator[bytes]:
    """Whole lines, some megabytes at a time, and the last few by themselves: what a list asks
    of a recording stands in its last line."""
    while (left := size - LAST_FRAME_BYTES - plain.tell()) > 0:
        yield plain.read(min(_FRAME_BYTES, left)) + plain.readline()
    if last := plain.read():
        yield last


def last_lines(path: Path) -> list[bytes]:
    """The lines of the last frame of a compressed segment; none where it has no whole one."""
    import zstandard

    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4 * LAST_FRAME_BYTES))
        tail = file.read()
    start = tail.rfind(_MAGIC)
    while start >= 0:
        try:
            content = zstandard.ZstdDecompressor().decompress(
                tail[start:], max_output_size=_FRAME_BYTES
            )
        except zstandard.ZstdError:
            start = tail.rfind(_MAGIC, 0, start)
            continue
        return content.splitlines()
    return []
