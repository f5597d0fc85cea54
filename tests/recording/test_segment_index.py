"""What the blocks of an index say of the lines that were added to it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from megabot_cli.recording.record import Record
from megabot_cli.recording.segment_index import (
    BadIndex,
    Block,
    IndexBuilder,
    SegmentIndex,
    decode_index,
    encode_index,
)


def record(n: int, t: int = 0, **fields: str) -> Record:
    return Record(n=n, t=t, kind="message", **fields)  # type: ignore[arg-type]


def finished(builder: IndexBuilder) -> SegmentIndex:
    return builder.finish(bytes=builder.end, sha256="", modified_ns=0)


def blocks_of(*added: list[Record], size: int = 10, block_bytes: int = 1000) -> list[Block]:
    """The blocks where so many bytes hold each list of records."""
    builder = IndexBuilder(100, block_bytes)
    for records in added:
        builder.add(size, records)
    return finished(builder).blocks


@pytest.mark.parametrize(
    ("added", "is_odd"),
    [
        ([[record(1, 5), record(2, 5)], [record(3, 5)]], False),
        ([[record(1, 5), record(2, 4)]], True),
        ([[record(1, 5), record(1, 5)]], True),
        ([[record(1, 5)], [record(2, 4)]], True),
        ([[record(1, 5)], [record(1, 5)]], True),
    ],
    ids=["in order", "back in time", "one number twice", "back in time later", "twice later"],
)
def test_what_is_out_of_order_is_odd(added: list[list[Record]], is_odd: bool) -> None:
    (block,) = blocks_of(*added)
    assert bool(block.odd) is is_odd


def test_what_lies_before_something_earlier_is_odd_in_its_own_block() -> None:
    found = blocks_of(
        [record(9, 9)], [record(3, 3)], [record(4, 4)], [record(10, 4)], [record(11, 11)],
        size=10, block_bytes=10,
    )  # fmt: skip
    assert [bool(block.odd) for block in found] == [False, True, True, True, False]


def test_a_block_spans_all_numbers_and_times_in_it_also_those_out_of_order() -> None:
    (block,) = blocks_of([record(5, 50), record(9, 90), record(7, 70)], [record(2, 20)])
    assert (block.n, block.t, block.records) == ((2, 9), (20, 90), 4)
    (block,) = blocks_of([record(5, 50)], [record(2, 20), record(3, 95)])
    assert (block.n, block.t, block.records) == ((2, 5), (20, 95), 3)


def test_a_block_ends_with_the_line_that_fills_it_and_none_is_empty() -> None:
    found = blocks_of([record(1)], [record(2)], [record(3)], [record(4)], size=10, block_bytes=20)
    assert [(block.at, block.n) for block in found] == [(100, (1, 2)), (120, (3, 4))]
    assert blocks_of() == []


def test_a_block_names_so_many_values_of_one_field_and_no_more() -> None:
    def held(count: int) -> object:
        (block,) = blocks_of([record(n, session=f"s{n}") for n in range(count)])
        return block.holds["session"]

    assert held(150) == list(range(150))
    assert held(151) == "many"


def test_a_value_of_a_block_has_its_length_and_no_more() -> None:
    def held(length: int) -> object:
        (block,) = blocks_of([record(1, session="s" * length)])
        return block.holds["session"]

    assert held(200) == [0]
    assert held(201) == "many"


def test_the_fields_of_a_block_share_the_room_for_values_that_are_new() -> None:
    records = [record(n, type=f"{n:0190}", session=f"{n:0190}") for n in range(10)]
    first, second = blocks_of(records, [record(20, session=f"{1:0190}")], size=9, block_bytes=9)
    assert first.holds["type"] == list(range(10))
    assert first.holds["session"] == "many"  # 3 KB would be left for it alone
    assert second.holds["session"] == [0]
    (block,) = blocks_of([record(n, session=f"{n:0190}") for n in range(17)])
    assert block.holds["session"] == "many"


def test_a_segment_has_so_many_values_of_one_field_and_those_it_has_are_named_on() -> None:
    added = [
        [record(n, session=f"{n:05}") for n in range(first, first + 100)]
        for first in range(0, 20_100, 100)
    ]
    *found, full, known = blocks_of(*added, [record(30_000, session="00007")], block_bytes=10)
    assert [block.holds["session"] == "many" for block in found] == [False] * 200
    assert full.holds["session"] == "many"
    assert known.holds["session"] == [7]


def test_a_value_that_comes_again_is_held_again() -> None:
    first, second = blocks_of(
        [record(1, session="a")], [record(2, session="b"), record(3, session="a")], block_bytes=10
    )
    assert (first.holds["session"], second.holds["session"]) == ([0], [0, 1])


def test_what_was_odd_in_one_block_is_not_so_in_the_next() -> None:
    builder = IndexBuilder(100, 10)
    builder.add(10, (), odd=1)
    builder.add(10, [record(1)])
    odd, sound = finished(builder).blocks
    assert (odd.odd, odd.records, sound.odd, sound.records) == (1, 0, 0, 1)


def _index(*blocks: Block) -> bytes:
    return encode_index(
        SegmentIndex(
            bytes=300, sha256="", modified_ns=0, values={"type": ["a", "b"]}, blocks=list(blocks)
        )
    )


def _block(at: int, **fields: Any) -> Block:
    block = Block(at=at, records=1, odd=0, n=(1, 1), t=(0, 0), holds={"type": [1]})
    return msgspec.structs.replace(block, **fields)


def test_blocks_in_order_are_an_index() -> None:
    index = decode_index(_index(_block(100), _block(200)))
    assert index.ends == [200, 300]
    assert decode_index(_index()).ends == []


@pytest.mark.parametrize(
    "blocks",
    [
        [_block(0)],
        [_block(300)],
        [_block(100), _block(100)],
        [_block(200), _block(100)],
        [_block(100, n=(2, 1))],
        [_block(100, t=(2, 1))],
        [_block(100, holds={"type": [0, 2]})],
        [_block(100, holds={"user": [0]})],
    ],
)
def test_what_cannot_be_said_of_blocks_is_no_index(blocks: list[Block]) -> None:
    with pytest.raises(BadIndex):
        decode_index(_index(*blocks))
