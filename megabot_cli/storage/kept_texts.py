"""Texts kept aside while they are many: the first in memory, the rest in a file without a name."""

from __future__ import annotations

import os
import tempfile
from array import array
from typing import IO, Final

from megabot_cli.errors import MegabotError

_IN_MEMORY_BYTES: Final = 32 * 1024 * 1024
_AT_ONCE_BYTES: Final = 256 * 1024
# What is asked for mostly comes in order, at two places: what is sent next, and what comes next.
_BLOCK_BYTES: Final = 64 * 1024
_BLOCKS: Final = 4


class KeptTexts:
    """Texts by number. Whoever makes one closes it; the file is the owner's alone.

    They are written `at_once_bytes` together. Where the disk refuses, no more are taken: they
    stay where they were.
    """

    def __init__(
        self, in_memory_bytes: int = _IN_MEMORY_BYTES, at_once_bytes: int = _AT_ONCE_BYTES
    ) -> None:
        self._room = in_memory_bytes
        self._at_once = at_once_bytes
        self._ends = array("Q")  # of each text, in the file
        self._binary = bytearray()  # of each, whether it is no text
        self._file: IO[bytes] | None = None
        self._written = 0
        self._unwritten = bytearray()
        self._refused = False
        self._blocks: dict[int, bytes] = {}  # of the file, those that were read last
        # The very last as text, where a character is a byte, and where it begins: in half the time.
        self._plain, self._plain_at = "", 0

    def is_due(self, size: int) -> bool:
        """Count a text of about that size (bytes): whether there is no room for it in memory, so
        that it is to be `put` here."""
        self._room -= size
        return self._room < 0

    def put(self, text: str | bytes) -> int | None:
        """Keep a text; return its number, None where the disk takes no more."""
        if self._refused:
            return None
        number = len(self._ends)
        self._binary.append(isinstance(text, bytes))
        if isinstance(text, str):
            text = text.encode("utf-8", "surrogatepass")
        self._unwritten += text
        self._ends.append(self._written + len(self._unwritten))
        if len(self._unwritten) >= self._at_once:
            self._write()
        return number

    def get(self, number: int) -> str | bytes:
        """A text as it was put. MegabotError where the disk does not give it back."""
        start, end = self._ends[number - 1] if number else 0, self._ends[number]
        plain_at = self._plain_at
        if plain_at <= start and end - plain_at <= len(self._plain) and not self._binary[number]:
            return self._plain[start - plain_at : end - plain_at]
        block, at = self._blocks.get(start // _BLOCK_BYTES, b""), start % _BLOCK_BYTES
        content = block[at : at + end - start]
        if len(content) < end - start:
            content = self._read(start, end) if start < self._written else b""
            if end > self._written:
                content += self._unwritten[max(0, start - self._written) : end - self._written]
        return content if self._binary[number] else content.decode("utf-8", "surrogatepass")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        """What cannot be written stays in memory, and is the last that is taken."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  `close` closes it
            while self._unwritten:
                count = self._file.write(self._unwritten)
                del self._unwritten[:count]
                self._written += count
        except OSError:
            self._refused = True

    def _read(self, start: int, end: int) -> bytes:
        """What of it is written."""
        end = min(end, self._written)
        number = start // _BLOCK_BYTES
        begins_at = number * _BLOCK_BYTES
        if end > begins_at + _BLOCK_BYTES:
            return self._pread(start, end)
        while len(self._blocks) >= _BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        block = self._pread(begins_at, min(begins_at + _BLOCK_BYTES, self._written))
        self._blocks[number] = block
        if block.isascii():
            self._plain, self._plain_at = block.decode("ascii"), begins_at
        return block[start - begins_at : end - begins_at]

    def _pread(self, start: int, end: int) -> bytes:
        assert self._file is not None
        try:
            return os.pread(self._file.fileno(), end - start, start)
        except OSError as fault:
            raise MegabotError(
                f"What was kept in {tempfile.gettempdir()} cannot be read: {fault.strerror}",
                "TMPDIR names another folder.",
            ) from fault
