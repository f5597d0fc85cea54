"""Names that sort by the time they were made."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.ids import make_id

moments = st.integers(min_value=0, max_value=2**45 - 1)  # until the year 3084
entropy = st.binary(min_size=5, max_size=16)


@given(moments, moments, entropy, entropy)
def test_ids_sort_by_the_time_they_were_made(
    first_ms: int, second_ms: int, first: bytes, second: bytes
) -> None:
    ids = make_id("msg", first_ms, first), make_id("msg", second_ms, second)
    if first_ms != second_ms:
        assert (ids[0] < ids[1]) == (first_ms < second_ms)


@given(moments, entropy, entropy)
def test_ids_of_one_moment_differ_by_their_chance(now_ms: int, first: bytes, second: bytes) -> None:
    same = make_id("msg", now_ms, first) == make_id("msg", now_ms, second)
    assert same == (first[:5] == second[:5])


@given(moments, entropy)
def test_an_id_is_a_prefix_and_17_characters_that_are_hard_to_misread(
    now_ms: int, chance: bytes
) -> None:
    prefix, rest = make_id("sess", now_ms, chance).split("_")
    assert prefix == "sess"
    assert len(rest) == 17
    assert set(rest) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_an_id_is_the_same_for_the_same_time_and_chance() -> None:
    assert make_id("msg", 1640995200123, b"\x00\x01\x02\x03\x04") == "msg_1fr9ez73v000g40r4"
