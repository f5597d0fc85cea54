"""Find the lines of a recording that can be wanted, by the bytes that must stand in them.

Most lines are never decoded, nor even cut apart: a block of many lines is searched as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from megabot_cli.recording.format_v1 import MAX_LINE_BYTES
from megabot_cli.storage.byte_search import Find, find_in
from megabot_cli.storage.line_source import check_length

_BLOCK_BYTES: Final = 256 * 1024
_TELLING_LINES: Final = 16  # a block of fewer tells little of the next
_BYTES_FOR_ONE: Final = 8192  # of block for each line given: rarer, and nobody need count lines
# JSON may write any letter so. Who does, as no recorder of ours, hides a text from a search for
# its letters: such lines are looked at whatever else is in them.
_ESCAPED: Final = b"\\u00"
_LETTERS: Final = b"234567"


class LineSearch:
    """The lines of `file`, without their newlines, in which one of `literals` may stand.

    In order, from where the file stands; without literals, all lines. With `escapes` also those
    that hide letters. Lines longer than `most_bytes` are passed over and counted in `too_long`;
    BadData, with the `name` of the file, where one has no end.
    What stands after the last newline is not given: it is in `rest` at the end, and so many bytes
    behind where it began as `passed_bytes` says.
    """

    def __init__(
        self,
        file: BinaryIO,
        literals: Sequence[bytes] = (),
        *,
        escapes: bool = True,
        most_bytes: int = MAX_LINE_BYTES,
        name: str = "the file",
    ) -> None:
        self._file = file
        self._name = name
        self._literals = literals
        self._escapes = escapes
        self._most_bytes = most_bytes
        self.rest = b""
        self.passed_bytes = 0
        self.too_long = 0
        self._is_common = False  # whether more than every fourth line of the last block was given

    def __iter__(self) -> Iterator[bytes]:
        for block, end in self.blocks():
            yield from self._search(block, end)

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """What `iter` looks through: bytes, and where in them the last of their lines ends."""
        begun: list[bytes] = []  # the pieces of a line whose end has not come
        size = 0
        # What has come is searched at once: a recording may still be growing, in a pipe.
        while block := self._file.read1(_BLOCK_BYTES):  # type: ignore[attr-defined]
            self.passed_bytes += len(block)
            cut = block.rfind(b"\n") + 1
            if size:
                end = block.find(b"\n") + 1
                size += end or len(block)
                if size <= self._most_bytes:
                    begun.append(block[: end or len(block)])
                else:
                    begun.clear()
                    check_length(size, self._name)
                if not end:
                    continue
                if begun:
                    line = b"".join(begun)
                    yield line, len(line)
                else:
                    self.too_long += 1
                block, cut = block[end:], cut - end
            yield block, cut
            begun, size = [block[cut:]], len(block) - cut
        self.rest = b"".join(begun)
        self.passed_bytes -= size
        if size and not self.rest:
            self.too_long += 1

    def _search(self, block: bytes, end: int) -> Iterator[bytes]:
        """The lines of a block of which the last ends, with its newline, at `end`; 0 where none
        does."""
        if not end:
            return
        if not self._literals:
            yield from block[: end - 1].split(b"\n")
            return
        if self._is_common:
            yield from self._each(block[: end - 1].split(b"\n"))
            return
        start = found = 0
        find = find_in(block)
        places = [find(literal, 0, end) for literal in self._literals]
        escape = _escaped_letter(block, find, 0, end) if self._escapes else -1
        while True:
            place = min((at for at in (*places, escape) if at >= 0), default=-1)
            if place < 0:
                if found > end / _BYTES_FOR_ONE:
                    self._learn(found, block.count(b"\n", 0, end))
                return
            found += 1
            begin = block.rfind(b"\n", start, place) + 1 or start
            after = block.index(b"\n", place)
            yield block[begin:after]
            start = after + 1
            for number, literal in enumerate(self._literals):
                if 0 <= places[number] < start:
                    places[number] = find(literal, start, end)
            if 0 <= escape < start:
                escape = _escaped_letter(block, find, start, end)

    def _each(self, lines: list[bytes]) -> Iterator[bytes]:
        """The same of lines, one by one: to jump from place to place pays where they are rare."""
        found = 0
        for line in lines:
            for literal in self._literals:
                if literal in line:
                    break
            else:
                if not self._escapes or _escaped_letter(line, line.find, 0, len(line)) < 0:
                    continue
            found += 1
            yield line
        self._learn(found, len(lines))

    def _learn(self, found: int, lines: int) -> None:
        if lines >= _TELLING_LINES:
            self._is_common = found > lines / 4


def _escaped_letter(block: bytes, find: Find, start: int, end: int) -> int:
    at = find(_ESCAPED, start, end)
    while at >= 0 and block[at + len(_ESCAPED)] not in _LETTERS:
        at = find(_ESCAPED, at + 1, end)
    return at
