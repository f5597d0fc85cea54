"""Whether an index tells the truth of its segment, as its records pass."""

from __future__ import annotations

from operator import attrgetter

from megabot_cli.recording.record import Record
from megabot_cli.recording.segment_index import FIELDS, MANY, Block, SegmentIndex

_values_of = attrgetter(*FIELDS)


class IndexCheck:
    """Takes all records of a segment, in order; `lie` is then the first byte of the first block
    of which the index says what is not so, or None."""

    def __init__(self, index: SegmentIndex) -> None:
        self._index = index
        self._starts = [*(block.at for block in index.blocks[1:]), index.bytes]
        self._place = 0
        self._last_n = self._last_t = -1
        self.lie: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._first_at: int | None = None
        self._numbers: list[int] = []
        self._times: list[int] = []
        self._is_in_order = True
        self._facts: set[tuple[str | None, ...]] = set()

    def take(self, record: Record, at: int) -> None:
        """The record on the line that begins at that byte."""
        if self.lie is not None or self._place >= len(self._index.blocks):
            return
        while at >= self._starts[self._place]:
            self._end_block()
            if self._place >= len(self._index.blocks):
                return
        if self._first_at is None:
            self._first_at = at
        if record.n <= self._last_n or record.t < self._last_t:
            self._is_in_order = False
        self._last_n, self._last_t = max(self._last_n, record.n), max(self._last_t, record.t)
        self._numbers.append(record.n)
        self._times.append(record.t)
        self._facts.add(_values_of(record))

    def end(self, bad_lines: int) -> None:
        """All records were given; so many lines were none."""
        while self._place < len(self._index.blocks):
            self._end_block()
        blocks = self._index.blocks
        if self.lie is None and blocks and bad_lines > sum(block.odd for block in blocks):
            self.lie = blocks[0].at

    def _end_block(self) -> None:
        block = self._index.blocks[self._place]
        if self.lie is None and not self._is_true(block):
            self.lie = block.at
        self._place += 1
        self._begin()

    def _is_true(self, block: Block) -> bool:
        if block.records != len(self._numbers):
            return False
        if not block.odd and (not self._is_in_order or self._first_at != block.at):
            return False
        if not self._numbers:
            return True
        if block.n != (min(self._numbers), max(self._numbers)):
            return False
        if block.t != (min(self._times), max(self._times)):
            return False
        return all(
            self._holds(block, name, values)
            for name, values in zip(FIELDS, map(set, zip(*self._facts, strict=True)), strict=True)
        )

    def _holds(self, block: Block, name: str, values: set[str | None]) -> bool:
        held = block.holds.get(name, MANY)
        if held == MANY:
            return True
        said = self._index.values.get(name, [])
        return {said[place] for place in held} == values
