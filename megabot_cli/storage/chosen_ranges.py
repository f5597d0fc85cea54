"""Some ranges of a segment, read as if nothing stood between them."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO, Final

from megabot_cli.storage.line_source import Decompressed

_NEWLINE: Final = 10
_CHUNK_BYTES: Final = 256 * 1024

Ranges = Sequence[tuple[int, int]]


class _Content:
    """The bytes of a plain file, from any place."""

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()

    def read(self, offset: int, most: int) -> bytes:
        return os.pread(self._descriptor, most, offset)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        return os.preadv(self._descriptor, [buffer], offset)


class _Unpacked:
    """The same of a packed one: begun anew at a frame, where one lies before the place."""

    def __init__(self, packed: Decompressed, starts: Sequence[int], offsets: Sequence[int]) -> None:
        self._packed = packed
        self._starts = starts
        self._offsets = offsets
        self._file: BinaryIO | None = None
        self._at = 0

    def read(self, offset: int, most: int) -> bytes:
        file = self._file_at(offset)
        content: bytes = file.read1(most) if file is not None else b""  # type: ignore[attr-defined]
        self._at += len(content)
        return content

    def read_into(self, buffer: memoryview, offset: int) -> int:
        file = self._file_at(offset)
        size: int = file.readinto1(buffer) if file is not None else 0  # type: ignore[attr-defined]
        self._at += size
        return size

    def _file_at(self, offset: int) -> BinaryIO | None:
        """What is unpacked, at that place of it; None where it ends before that."""
        frame = max(0, bisect_right(self._offsets, offset) - 1)
        if self._file is None or not self._offsets[frame] <= self._at <= offset:
            self._file = self._packed.from_frame(self._starts[frame])
            self._at = self._offsets[frame]
        while self._at < offset:
            passed = self._file.read(min(_CHUNK_BYTES, offset - self._at))
            if not passed:
                return None
            self._at += len(passed)
        return self._file


class _Ranges(io.RawIOBase):
    """Whole lines only: a range that begins or ends within a line, as no index of ours has it,
    begins behind that line, or ends with it."""

    def __init__(self, source: _Content | _Unpacked, ranges: Ranges) -> None:
        self._source = source
        self._left = list(reversed(ranges))
        self._at = self._stop = 0
        self._ends_line = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, memoryview)
        while True:
            if self._at < self._stop:
                size = self._source.read_into(buffer[: self._stop - self._at], self._at)
            elif not self._ends_line:
                content = self._source.read(self._at, len(buffer))
                size = content.find(b"\n") + 1 or len(content)
                buffer[:size] = content[:size]
            elif self._left:
                self._begin(*self._left.pop())
                continue
            else:
                return 0
            self._at += size
            if size:
                self._ends_line = buffer[size - 1] == _NEWLINE
            else:
                self._left.clear()  # torn: an end is an end
            return size

    def _begin(self, start: int, stop: int) -> None:
        """Go to the first line that begins in a range, which is where the range does."""
        at, size = max(start, self._at) - 1, 1
        while content := self._source.read(at, size):
            newline = content.find(b"\n")
            if newline >= 0:
                self._at, self._stop = at + newline + 1, stop
                return
            at, size = at + len(content), _CHUNK_BYTES
        self._at = self._stop = stop


def ranges_of(file: BinaryIO, ranges: Ranges) -> BinaryIO:
    """What stands in these ranges of an open segment, in their order, none from byte 0 on. To
    close it leaves the segment open. Only for one that knows its `content_bytes`."""
    raw = getattr(file, "raw", None)
    if not isinstance(raw, Decompressed):
        return io.BufferedReader(_Ranges(_Content(file), ranges), _CHUNK_BYTES)
    frames = raw.frames()
    offsets = [0, *accumulate(frame.content_bytes or 0 for frame in frames)][: len(frames)]
    source = _Unpacked(raw, [frame.start for frame in frames], offsets)
    return io.BufferedReader(_Ranges(source, ranges), _CHUNK_BYTES)


def content_bytes(file: BinaryIO) -> int | None:
    """How many bytes an open file holds, unpacked; None where its headers do not say."""
    raw = getattr(file, "raw", None)
    if isinstance(raw, Decompressed):
        frames = raw.frames()
        sizes = [frame.content_bytes for frame in frames]
        known = [size for size in sizes if size is not None]
        return sum(known) if frames and len(known) == len(sizes) else None
    return os.fstat(raw.fileno()).st_size if isinstance(raw, io.FileIO) else None
