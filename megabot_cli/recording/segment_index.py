"""The index of a sealed segment: what its blocks of lines hold. Bytes in, values out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter, le, lt
from typing import Annotated, Any, Final, Literal

import msgspec

from megabot_cli.recording.record import Count, MessageLine, Record

FORMAT: Final = "megabot-index"
MAJOR: Final = 1
VERSION: Final = "1.0"
STARTS: Final = f'{{"format":"{FORMAT}"'.encode()

MANY: Final = "many"
FIELDS: Final = ("kind", "direction", "type", "session", "client", "link", "user")
"""The keys of a record of which an index tells the values, in the order of the format."""

BLOCK_BYTES: Final = 1024 * 1024  # of lines: what can be skipped at the least
# So that an index stays under a hundredth of its segment, whatever that holds.
_MOST_IN_BLOCK: Final = 150  # values of one field
_NEW_BYTES: Final = 3072  # of values that a block brings
_LONGEST_VALUE: Final = 200
_MOST_VALUES: Final = 20_000  # of one field, in the whole segment

_version = re.compile(r"(\d{1,6})\.(\d{1,6})\Z")
_values_of: Callable[[Any], tuple[str | None, ...]] = attrgetter(*FIELDS)

Range = tuple[Annotated[int, msgspec.Meta(ge=0, le=2**62)], Count]
Place = Annotated[int, msgspec.Meta(ge=0, le=_MOST_VALUES)]
Value = Annotated[str, msgspec.Meta(max_length=_LONGEST_VALUE)]


class Block(msgspec.Struct, frozen=True):
    """Lines that stand together, from the byte `at` on; unpacked, where the segment is packed.

    `odd` counts lines that are no records, or out of order: 0 for all that our recorder writes.
    `n` and `t` are the least and the most that its records have. `holds` tells by field which
    values occur, as places in the index's `values`; `many` are so many that none is named, and so
    is a field that is not there.
    """

    at: Count
    records: Count
    odd: Count
    n: tuple[Count, Count]
    t: tuple[
        Annotated[int, msgspec.Meta(ge=0, le=2**62)], Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    ]
    holds: dict[str, list[Place] | Literal["many"]]


class SegmentIndex(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one segment, as long as it is the one that was looked at.

    `bytes` and `sha256` are those that its `end` tells, `modified_ns` when its file was changed
    last (Unix time): it is another if one of them differs. Of a segment in which nothing can be
    skipped there are no `blocks`.
    """

    format: str = FORMAT
    version: str = VERSION
    bytes: Count
    sha256: str
    modified_ns: int
    values: dict[str, Annotated[list[Value | None], msgspec.Meta(max_length=_MOST_VALUES)]]
    blocks: list[Block]

    @property
    def ends(self) -> list[int]:
        """Where each block ends, which is where the next begins."""
        return [*(block.at for block in self.blocks[1:]), self.bytes][: len(self.blocks)]


def _are_in_order(records: Sequence[Record | MessageLine]) -> bool:
    numbers = [record.n for record in records]
    times = [record.t for record in records]
    return all(map(lt, numbers, numbers[1:])) and all(map(le, times, times[1:]))


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(SegmentIndex)


class BadIndex(ValueError):
    """What is no index that we can use; the text says why."""


def encode_index(index: SegmentIndex) -> bytes:
    return _encode(index) + b"\n"


def decode_index(content: bytes) -> SegmentIndex:
    """Read an index. BadIndex for what is none, is of a newer major version, or says of its
    blocks what cannot be."""
    try:
        index = _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadIndex(str(fault)) from None
    version = _version.match(index.version)
    if index.format != FORMAT or version is None or int(version[1]) > MAJOR:
        raise BadIndex("it is of another format, or of a newer version")
    counts = {name: len(values) for name, values in index.values.items()}
    for block, end in zip(index.blocks, index.ends, strict=True):
        if not 0 < block.at < end or block.n[0] > block.n[1] or block.t[0] > block.t[1]:
            raise BadIndex(f"the block at {block.at} is out of order")
        for name, held in block.holds.items():
            if held != MANY and held and max(held) >= counts.get(name, 0):
                raise BadIndex(f"the block at {block.at} names a value that is not there")
    return index


class IndexBuilder:
    """Makes an index of lines as they are written, or read. The first of them begins at `at`.

    What it keeps grows with the index, not with the lines. `end` is where the next line begins.
    """

    def __init__(self, at: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._at = self.end = at
        self._block_bytes = block_bytes
        self._blocks: list[Block] = []
        self._places: dict[str, dict[str | None, int]] = {name: {} for name in FIELDS}
        self._last_n = self._last_t = -1
        self._begin()

    def _begin(self) -> None:
        self._at = self.end
        self._facts: set[tuple[str | None, ...]] = set()
        self._records = self._odd = 0
        self._n = self._t = (0, 0)

    def add(self, size: int, records: Sequence[Record | MessageLine], odd: int = 0) -> None:
        """So many bytes of whole lines, which hold these records, and lines that are none."""
        if records and not _are_in_order(records):
            odd += 1
        self.add_ordered(size, records, odd)

    def add_ordered(self, size: int, records: Sequence[Record | MessageLine], odd: int = 0) -> None:
        """The same where the records are known to be in order, or `odd` says that they are not."""
        self.end += size
        self._odd += odd
        if records:
            self._facts.update(map(_values_of, records))
            self._span(records)
        if self.end - self._at >= self._block_bytes:
            self._close_block()

    def _span(self, records: Sequence[Record | MessageLine]) -> None:
        first, last = records[0], records[-1]
        low_n, high_n, low_t, high_t = first.n, last.n, first.t, last.t
        if self._odd:
            low_n = min(record.n for record in records)
            high_n = max(record.n for record in records)
            low_t = min(record.t for record in records)
            high_t = max(record.t for record in records)
        if low_n <= self._last_n or low_t < self._last_t:
            self._odd += 1
        self._last_n, self._last_t = max(self._last_n, high_n), max(self._last_t, high_t)
        if self._records:
            low_n, high_n = min(low_n, self._n[0]), max(high_n, self._n[1])
            low_t, high_t = min(low_t, self._t[0]), max(high_t, self._t[1])
        self._n, self._t = (low_n, high_n), (low_t, high_t)
        self._records += len(records)

    def _close_block(self) -> None:
        held = self._held()
        self._blocks.append(
            Block(
                at=self._at,
                records=self._records,
                odd=self._odd,
                n=self._n,
                t=self._t,
                holds=held,
            )
        )
        self._begin()

    def _held(self) -> dict[str, list[int] | Literal["many"]]:
        held: dict[str, list[int] | Literal["many"]] = {}
        left = _NEW_BYTES
        for name, values in zip(FIELDS, map(set, zip(*self._facts, strict=True)), strict=False):
            places = self._places[name]
            new = sorted(values - places.keys(), key=lambda value: value or "")
            is_long = any(len(value or "") > _LONGEST_VALUE for value in new)
            is_much = len(values) > _MOST_IN_BLOCK or len(places) + len(new) > _MOST_VALUES
            size = 0 if is_long or is_much else len(_encode(new))
            if is_long or is_much or size > left:
                held[name] = MANY
                continue
            left -= size
            for value in new:
                places[value] = len(places)
            held[name] = sorted(places[value] for value in values)
        return held

    def finish(self, *, bytes: int, sha256: str, modified_ns: int) -> SegmentIndex:  # noqa: A002
        """The index of a segment that was sealed then, and whose `end` says so."""
        if self.end > self._at:
            self._close_block()
        return SegmentIndex(
            bytes=bytes,
            sha256=sha256,
            modified_ns=modified_ns,
            values={name: list(places) for name, places in self._places.items()},
            blocks=self._blocks,
        )
