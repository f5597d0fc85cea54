"""The system's search finds what Python's finds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.storage import byte_search
from megabot_cli.storage.byte_search import find_in

SIZE = 20_000
HAS_ONE = byte_search._memmem() is not None


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from([b'"a":"b"', b"ab", b"\\u00", b"", b"\0", b"c" * 300]), min_size=1),
    st.tuples(st.integers(0, SIZE + 10), st.integers(0, SIZE + 10)),
)
def test_it_finds_the_same_places(seed: int, needles: list[bytes], bounds: tuple[int, int]) -> None:
    chance = random.Random(seed)
    block = bytearray(chance.choices(b'ab":\\u0\0\n', k=SIZE))
    for needle in needles:
        at = chance.randrange(SIZE - len(needle))
        block[at : at + len(needle)] = needle
    text = bytes(block)
    find, (start, end) = find_in(text), bounds
    for needle in needles:
        assert find(needle, start, end) == text.find(needle, start, end)
        assert find(needle, 0, SIZE) == text.find(needle, 0, SIZE)


@pytest.mark.skipif(not HAS_ONE, reason="this system has no memmem")
def test_it_is_the_systems_own_where_that_pays() -> None:
    small, large = b"x" * 100, b"x" * SIZE
    assert find_in(small) == small.find
    assert find_in(large) != large.find


def test_without_one_it_is_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_search, "_memmem", lambda: None)
    block = b"x" * SIZE + b"needle"
    assert find_in(block) == block.find
