"""Where the frames of a zstd file begin: told by its headers alone (RFC 8878), nothing unpacked."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, Final, NamedTuple

_MAGIC: Final = 0xFD2FB528
_SKIPPABLE: Final = 0x184D2A50  # and the fifteen behind it
_DICTIONARY_BYTES: Final = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES: Final = (0, 2, 4, 8)
_LONGEST_HEADER: Final = 18
_RUN_LENGTH, _RESERVED = 1, 3
# Eight GiB of text in full blocks, and a fifth of a second. Where blocks are tiny, or a file is
# larger, the frames up to there are those that can be begun with.
_MOST_HEADERS: Final = 65_536


class _From(io.RawIOBase):
    """The bytes of an open file from an offset on; the file's own position stays as it is."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self._offset = offset

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, memoryview)
        content = os.pread(self._descriptor, len(buffer), self._offset)
        buffer[: len(content)] = content
        self._offset += len(content)
        return len(content)


def bytes_from(descriptor: int, offset: int) -> BinaryIO:
    """What an open file holds from `offset` on. To close it leaves the file open."""
    return io.BufferedReader(_From(descriptor, offset))


class Frame(NamedTuple):
    """Where a frame with content begins, and how long that is where its header says so."""

    start: int
    content_bytes: int | None


def frames_of(descriptor: int, offset: int) -> list[Frame]:
    """The frames with content, the first of them at or behind `offset`.

    Ends at what is no frame, torn or too finely cut: up to there they are what a decoder finds.
    """
    frames: list[Frame] = []
    headers = 0
    while headers < _MOST_HEADERS:
        head = os.pread(descriptor, _LONGEST_HEADER, offset)
        if len(head) < 5:
            break
        headers += 1
        magic = int.from_bytes(head[:4], "little")
        if magic & ~0xF == _SKIPPABLE:
            offset += 8 + int.from_bytes(head[4:8], "little")
            continue
        described = head[4]
        if magic != _MAGIC or described & 0b1000:
            break
        length = 5 + _described_bytes(described)
        frames.append(Frame(offset, _content_bytes(described, head[:length])))
        offset += length
        last = False
        while not last:
            block = os.pread(descriptor, 3, offset)
            headers += 1
            word = int.from_bytes(block, "little")
            kind = word >> 1 & 3
            if len(block) < 3 or kind == _RESERVED or headers >= _MOST_HEADERS:
                return frames
            offset += 3 + (1 if kind == _RUN_LENGTH else word >> 3)
            last = bool(word & 1)
        offset += 4 if described & 0b100 else 0  # the checksum
    return frames


def _described_bytes(descriptor: int) -> int:
    """How long the rest of a frame header is: window, dictionary, size of the content."""
    one_segment = descriptor >> 5 & 1
    return (1 - one_segment) + _DICTIONARY_BYTES[descriptor & 3] + _size_bytes(descriptor)


def _size_bytes(descriptor: int) -> int:
    return _CONTENT_SIZE_BYTES[descriptor >> 6] or descriptor >> 5 & 1


def _content_bytes(descriptor: int, header: bytes) -> int | None:
    """What a whole frame header says of the size of the content, with which it ends."""
    length = _size_bytes(descriptor)
    if not length:
        return None
    said = int.from_bytes(header[-length:], "little")
    return said + 256 if length == 2 else said
