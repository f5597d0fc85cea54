"""Lines of a recording, wherever they lie: a file, a pipe, gzip. Never more than one in memory."""

from __future__ import annotations

import errno
import io
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from megabot_cli.errors import BadData, MegabotError, NotFound, NotPermitted
from megabot_cli.recording.format_v1 import MAX_LINE_BYTES
from megabot_cli.storage.frames import Frame, bytes_from, frames_of

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MOST_WINDOW: Final = 128 * 1024 * 1024  # of memory that a file may ask for
_CHUNK_BYTES: Final = 256 * 1024
# A line that is too long for a record is passed over, but not for ever: a device or a pipe may
# never end it.
ENDLESS_BYTES: Final = 4 * 1024**3


class Line(msgspec.Struct, frozen=True):
    """One line without its newline, and the byte at which it begins.

    `whole` is False when the source ends before the newline. Of a line that is longer than
    any record may be, `content` is None.
    """

    content: bytes | None
    offset: int
    size: int
    whole: bool


class _Inflated(io.RawIOBase):
    """What gzip holds, as far as it can be read: a torn end is an end."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(wbits=31)
        self._waiting = b""
        self.fault: str | None = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, memoryview)
        while self.fault is None:
            if self._inflate.eof:  # files that were put one behind the other
                self._waiting = self._inflate.unused_data
                self._inflate = zlib.decompressobj(wbits=31)
            compressed = self._waiting or self._source.read(_CHUNK_BYTES)
            if not compressed:
                return 0
            try:
                content = self._inflate.decompress(compressed, len(buffer))
            except zlib.error as fault:
                self.fault = str(fault)
                return 0
            self._waiting = self._inflate.unconsumed_tail
            if content:
                buffer[: len(content)] = content
                return len(content)
        return 0


class Decompressed(io.RawIOBase):
    """What zstd holds, frame after frame, as far as it can be read: a torn end is an end."""

    def __init__(self, source: BinaryIO) -> None:
        import zstandard  # only who has such a file pays for it

        self._source = source
        self._begins_at = source.tell() if source.seekable() else None
        self._frames: list[Frame] | None = None
        self._faults = zstandard.ZstdError
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW)
        self._reader = decompressor.stream_reader(
            source, read_size=_CHUNK_BYTES, read_across_frames=True
        )
        self.fault: str | None = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, memoryview)
        if self.fault is not None:
            return 0
        try:
            return int(self._reader.readinto(buffer))
        except self._faults as fault:
            self.fault = str(fault)
            return 0

    def frame_starts(self) -> list[int]:
        """Where in the file frames begin; none for a pipe."""
        return [frame.start for frame in self.frames()]

    def frames(self) -> list[Frame]:
        """Its frames, with the sizes of what they hold; none for a pipe. Looked for once."""
        if self._frames is None:
            known = self._begins_at is not None
            self._frames = frames_of(self._source.fileno(), self._begins_at or 0) if known else []
        return self._frames

    def fileno(self) -> int:
        """The descriptor of the file that is unpacked."""
        return self._source.fileno()

    def from_frame(self, start: int) -> BinaryIO:
        """The same file, while it is open here, read from a frame on."""
        source = bytes_from(self._source.fileno(), start)
        return io.BufferedReader(Decompressed(source), _CHUNK_BYTES)


def open_source(source: Path | str) -> BinaryIO:
    """Open a file, or standard input for `-`; gzip and zstd are read through."""
    if source == "-":
        file = io.BufferedReader(_standard_input())
    else:
        try:
            file = io.BufferedReader(io.FileIO(source, "rb"))
        except OSError as fault:
            raise cannot_read(source, fault) from fault
    start = file.peek(4)[:4]
    if start.startswith(_ZSTD):
        return io.BufferedReader(Decompressed(file), _CHUNK_BYTES)
    if start.startswith(_GZIP):
        return io.BufferedReader(_Inflated(file), _CHUNK_BYTES)
    return file


def _standard_input() -> io.FileIO:
    """A closed one holds nothing; its number may be that of another file of ours by now."""
    if sys.stdin is None:
        return io.FileIO(os.devnull, "rb")
    return io.FileIO(sys.stdin.fileno(), "rb", closefd=False)


def is_compressed(file: BinaryIO) -> bool:
    """Whether what is read is unpacked on the way, so that its bytes are not those of the file."""
    return isinstance(getattr(file, "raw", None), (_Inflated, Decompressed))


def cannot_read(source: Path | str, fault: OSError) -> MegabotError:
    """What an operator is told when the system does not give us a file."""
    if isinstance(fault, FileNotFoundError):
        return NotFound(
            f"There is no recording {source}.", "`megabot recordings list` shows those there are."
        )
    if isinstance(fault, PermissionError):
        return NotPermitted(
            f"{source} may not be read: {fault.strerror}.",
            "`ls -l` says who may; `chmod` lets you.",
        )
    if fault.errno in (errno.EMFILE, errno.ENFILE):
        return MegabotError(
            f"{source} cannot be read: {fault.strerror}.",
            "`ulimit -n` says how many may be open, and raises it; or take fewer at a time.",
        )
    return BadData(
        f"{source} cannot be read: {fault.strerror or fault}.",
        "Is it a recording, and the disk well?",
    )


def first_line_of(file: BinaryIO, most_bytes: int = MAX_LINE_BYTES) -> Line | None:
    """The line with which a file begins; None for an empty file.

    One that is too long is not read to its end, which may never come: nothing may follow it.
    """
    content = file.readline(most_bytes)
    if not content:
        return None
    whole = content.endswith(b"\n")
    is_too_long = not whole and len(content) == most_bytes
    return Line(None if is_too_long else content[: -1 if whole else None], 0, len(content), whole)


def lines_of(
    file: BinaryIO, name: str, offset: int = 0, *, most_bytes: int = MAX_LINE_BYTES
) -> Iterator[Line]:
    """Give the lines of `file` one after the other; the first begins at byte `offset`.

    BadData, with the `name` of the file, where a line has no end.
    """
    while content := file.readline(most_bytes):
        if content.endswith(b"\n"):
            yield Line(content[:-1], offset, len(content), whole=True)
            offset += len(content)
        elif len(content) < most_bytes:
            yield Line(content, offset, len(content), whole=False)
            return
        else:
            size, whole = _skip_line(file, name, len(content))
            yield Line(None, offset, size, whole)
            offset += size


def _skip_line(file: BinaryIO, name: str, size: int) -> tuple[int, bool]:
    """Read over the rest of a line that is too long; return its size and whether it ended."""
    while content := file.readline(_CHUNK_BYTES):
        size += len(content)
        if content.endswith(b"\n"):
            return size, True
        check_length(size, name)
    return size, False


def check_length(size: int, name: str) -> None:
    """BadData for a line of which so much has been passed over that it may have no end at all."""
    if size > ENDLESS_BYTES:
        raise BadData(
            f"{name} has a line that does not end within {ENDLESS_BYTES // 1024**3} GiB.",
            "It is no recording, or damaged there; `megabot recordings cut --limit N` keeps what "
            "comes before.",
        )
