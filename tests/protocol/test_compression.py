"""gzip messages: what goes in comes out, and a bomb costs next to nothing."""

from __future__ import annotations

import contextlib
import gzip
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.errors import BadData
from megabot_cli.protocol.compression import Overlong, compress, inflate, is_gzip

LIMIT = 1 << 20


@given(st.binary(max_size=5000))
def test_what_goes_in_comes_out(text: bytes) -> None:
    assert is_gzip(compress(text))
    assert inflate(compress(text), LIMIT) == text


def test_the_same_text_makes_the_same_bytes() -> None:
    assert compress(b"abc" * 1000) == compress(b"abc" * 1000)


def test_several_members_are_one_text() -> None:
    assert inflate(gzip.compress(b"one ") + gzip.compress(b"two"), LIMIT) == b"one two"


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(Overlong, match="1048576"):
        inflate(bomb, LIMIT)
    assert time.process_time() - began < 0.5
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_bomb_in_pieces_is_one_too() -> None:
    with pytest.raises(Overlong):
        inflate(gzip.compress(bytes(LIMIT // 2)) * 3, LIMIT)
    with pytest.raises(BadData, match="pieces"):
        inflate(gzip.compress(b"") * 100, LIMIT)


def test_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert len(inflate(compress(bytes(LIMIT)), LIMIT)) == LIMIT
    with pytest.raises(Overlong):
        inflate(compress(bytes(LIMIT + 1)), LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x1f\x8b", id="only the beginning"),
        pytest.param(b"plain words", id="no gzip"),
        pytest.param(zlib.compress(b"abc"), id="zlib"),
        pytest.param(gzip.compress(b"abc" * 100)[:-9], id="cut off"),
        pytest.param(gzip.compress(b"abc") + b"more", id="followed by something else"),
        pytest.param(gzip.compress(b"abc")[:-4] + b"\0\0\0\0", id="wrong length"),
    ],
)
def test_what_is_no_whole_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(BadData, match="gzip"):
        inflate(data, LIMIT)


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_a_clear_refusal(data: bytes) -> None:
    with contextlib.suppress(BadData):
        assert len(inflate(b"\x1f\x8b" + data, LIMIT)) <= LIMIT
