"""What a source has lost, told in what is made of it as a `gap` where it was lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import started_at_s, warnings_of
from megabot_cli.storage.record_reader import SourceReader

EVERYTHING: Final = Selection()
_BREAKS_OFF: Final = "the source breaks off here"
_NOT_READ: Final = "could not be read in the source, wherever it stood"


def with_losses(
    source: SourceReader, wanted: Selection = EVERYTHING
) -> Iterator[tuple[Record, bytes]]:
    """Give the records that are wanted, each with its line, and a `gap` for what is missing.

    Unlike `choose` it reads all between the bounds but what an index says is whole and holds
    nothing wanted: a loss may have been of what is wanted.
    """
    chooser = wanted.chooser(started_at_s(source))
    begin = chooser.begin if chooser.begin is not None and chooser.begin.kind != "mark" else None
    losses = _Losses()
    n = t = 0
    for record, line, lost in source.numbered(begin, chooser.blocks(losses=True)):
        n, t = record.n, record.t
        offered = chooser.offer(record, line)
        if lost and (offered or chooser.is_within):
            losses.add(n - lost, t, lost)
        for each in offered:
            yield from losses.before(each[0].n)
            yield each
        if chooser.finished:
            yield from losses.rest()
            return
    source.warnings.extend(warnings_of(chooser))
    yield from losses.rest()
    yield from gap_at_end(n + 1, t, source)


def gap_at_end(n: int, t: int, source: SourceReader) -> Iterator[tuple[Record, bytes]]:
    """What is missing of a source whose records were `numbered`, as a record behind the last; how
    many these were where known."""
    lost = source.lost_at_end
    if lost is not None:
        note = _BREAKS_OFF if source.breaks_off else _NOT_READ
        yield _with_line(Record(n=n, t=t, kind="gap", lost=lost or None, note=note))


def _with_line(gap: Record) -> tuple[Record, bytes]:
    return gap, encode_record(gap)[:-1]


class _Losses:
    """Losses that were not told yet, as one gap; it has a number that was lost."""

    def __init__(self) -> None:
        self._gap: Record | None = None
        self._told_n = 0
        self._t = 0

    def add(self, n: int, t: int, lost: int) -> None:
        if self._gap is None:
            self._gap = Record(n=n, t=t, kind="gap", lost=0, note="a hole in the source")
        self._gap.lost = (self._gap.lost or 0) + lost

    def before(self, n: int) -> Iterator[tuple[Record, bytes]]:
        """The gap, if it belongs before the record `n`, which is told next."""
        gap = self._gap
        if gap is not None and self._told_n < gap.n < n:
            self._gap = None
            yield _with_line(gap)
        self._told_n = n

    def rest(self) -> Iterator[tuple[Record, bytes]]:
        if self._gap is not None:
            self._gap.n = max(self._gap.n, self._told_n + 1)
            yield _with_line(self._gap)
