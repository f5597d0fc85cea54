"""Which blocks of a segment can hold what is wanted: the others need not be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

import msgspec

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.passed_on import GREETING
from megabot_cli.recording.record import Record
from megabot_cli.recording.segment_index import MANY, Block, SegmentIndex

Question = Callable[[Record], bool]

_MARK: Final = "mark"
_TELLING: Final = frozenset({"type", "session", "client", "link", "user"})


class Reading(msgspec.Struct, frozen=True):
    """What to read of a segment: from byte to byte, in order, its `end` line with the last.

    `passed` are the records between, by their first and last number.
    """

    ranges: list[tuple[int, int]]
    passed: list[tuple[int, int]]


class BlockChoice(msgspec.Struct, frozen=True):
    """What a selection asks that an index can answer.

    `questions` are asked of a record, each about the one field it stands under. `begin` and
    `until` are settled places. `around` says how many records beside a wanted one are wanted
    too, of the kinds asked for; with `greets_once` no greeting that was passed on. `losses`: who
    reads has to hear of each hole in the numbers, wherever it is. `limited`: reading may end at
    any record.
    """

    questions: Mapping[str, Question]
    begin: Place | None = None
    until: Place | None = None
    around: int = 0
    losses: bool = False
    limited: bool = False
    greets_once: bool = False

    @property
    def needs_index(self) -> bool:
        """Whether it asks what nothing but an index tells before all is read. Times and numbers
        are found by halving, and the kinds of records are much the same everywhere."""
        return not self.limited and not _TELLING.isdisjoint(self.questions)

    def reading(self, index: SegmentIndex) -> Reading | None:
        """What to read; None where that is all there is. A line that is no record, or out of
        order, is read wherever the place to begin at has been reached: it may be told of."""
        blocks = index.blocks
        if not blocks:
            return None
        wanted = self._wanted(index)
        if all(wanted):
            return None
        ranges: list[tuple[int, int]] = []
        passed: list[tuple[int, int]] = []
        for block, end, is_wanted in zip(blocks, index.ends, wanted, strict=True):
            if not is_wanted:
                if block.records:
                    passed.append(block.n)
            elif ranges and ranges[-1][1] == block.at:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((block.at, end))
        return Reading(ranges, passed)

    def _wanted(self, index: SegmentIndex) -> list[bool]:
        blocks = index.blocks
        fitting = {
            name: frozenset(
                place
                for place, value in enumerate(index.values.get(name, ()))
                if question(_record_with(name, value))
            )
            for name, question in self.questions.items()
        }
        wanted = [self._is_wanted(block, fitting, index) for block in blocks]
        if self.around:
            sure = [self._sure_neighbours(block, fitting.get("kind"), index) for block in blocks]
            wanted = _with_neighbours(wanted, sure, self.around)
            if self.greets_once:  # whoever tells which was passed on has to see all
                for place, block in enumerate(blocks):
                    wanted[place] = wanted[place] or _may_hold(block, "type", GREETING, index)
        first = self._first(blocks)
        if self.losses:
            _add_losses(wanted, blocks, first)
        return [place >= first and is_wanted for place, is_wanted in enumerate(wanted)]

    def _is_wanted(
        self, block: Block, fitting: Mapping[str, frozenset[int]], index: SegmentIndex
    ) -> bool:
        if block.odd:
            return True
        bounds = [place.kind for place in (self.begin, self.until) if place is not None]
        if _MARK in bounds and _may_hold(block, "kind", _MARK, index):
            return True
        until = self.until
        if until is not None and until.kind != _MARK and _most(block, until) >= until.value:
            return True  # with it, reading ends
        for name, places in fitting.items():
            held = block.holds.get(name, MANY)
            if held != MANY and places.isdisjoint(held):
                return False
        return True

    def _sure_neighbours(
        self, block: Block, kinds: frozenset[int] | None, index: SegmentIndex
    ) -> int:
        """How many records of a block at the least may stand beside a wanted one."""
        if self.greets_once and _may_hold(block, "type", GREETING, index):
            return 0
        held = block.holds.get("kind", MANY)
        if kinds is None or (held != MANY and kinds.issuperset(held)):
            return block.records
        return 0 if held == MANY else len(kinds.intersection(held))

    def _first(self, blocks: list[Block]) -> int:
        """The first block to read: that in which the place to begin at is reached, or where
        losses are told, the one before it."""
        if self.begin is None or self.begin.kind == _MARK:
            return 0
        for place, block in enumerate(blocks):
            if block.records and _most(block, self.begin) >= self.begin.value:
                return max(0, place - 1) if self.losses else place
        return len(blocks)


def _most(block: Block, place: Place) -> int:
    """How far the records of a block go, in what `place` is counted in."""
    return block.t[1] if place.kind == "offset" else block.n[1]


def _may_hold(block: Block, name: str, value: str, index: SegmentIndex) -> bool:
    held = block.holds.get(name, MANY)
    values = index.values.get(name, [])
    return held == MANY or any(values[place] == value for place in held)


def _record_with(name: str, value: str | None) -> Record:
    record = Record(n=1, t=0, kind="")
    setattr(record, name, value)
    return record


def _with_neighbours(wanted: list[bool], sure: list[int], around: int) -> list[bool]:
    """Also what stands within so many records of a wanted block, of which each block has some for
    `sure`, or of either end of the segment: of what is before and behind it nothing is known
    here."""
    kept = list(wanted)
    for order in (range(len(sure)), range(len(sure) - 1, -1, -1)):
        left = around
        for place in order:
            if wanted[place]:
                left = around
            elif left > 0:
                kept[place] = True
                left -= sure[place]
    return kept


def _add_losses(wanted: list[bool], blocks: list[Block], first: int) -> None:
    """Also what does not follow the block before it number by number, or is not whole itself.

    With the `first` and the last block: what is before and behind is not known here. Where numbers
    go back, all are wanted.
    """
    wanted[-1] = True
    if first < len(blocks):
        wanted[first] = True
    if any(block.odd for block in blocks):
        wanted[:] = [True] * len(blocks)
    for place, (before, block) in enumerate(pairwise(blocks), 1):
        is_whole = block.records == block.n[1] - block.n[0] + 1
        if not is_whole or block.n[0] != before.n[1] + 1:
            wanted[place] = True
