"""When what was recorded is due again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.pace import Pacing, capped_offsets_s
from tests.recording.arbitrary import thorough

times = st.lists(st.integers(0, 10**12), max_size=20).map(sorted)


def test_offsets_begin_with_the_first_message() -> None:
    assert capped_offsets_s([5_000_000, 5_500_000, 9_000_000], None) == [0.0, 0.5, 4.0]


def test_a_long_pause_is_cut_and_what_follows_moves_with_it() -> None:
    assert capped_offsets_s([0, 1_000_000, 61_000_000, 62_000_000], 2.0) == [0.0, 1.0, 3.0, 4.0]


def test_nothing_to_send_needs_no_offsets() -> None:
    assert capped_offsets_s([], 1.0) == []


@thorough
@given(times, st.none() | st.floats(0, 100))
def test_any_offsets_rise_and_no_pause_is_longer_than_allowed(
    times_us: list[int], max_gap_s: float | None
) -> None:
    offsets = capped_offsets_s(times_us, max_gap_s)
    assert offsets == sorted(offsets)
    assert len(offsets) == len(times_us)
    if max_gap_s is None and times_us:
        assert offsets[-1] == pytest.approx((times_us[-1] - times_us[0]) / 1e6)
    for before, after in pairwise(offsets):
        assert after - before <= (1e12 if max_gap_s is None else max_gap_s + 1e-6)


@pytest.mark.parametrize(
    ("pacing", "due_s"),
    [
        (Pacing(), [1.0, 61.0]),
        (Pacing(speed=2, max_gap_s=4), [0.5, 2.5]),
        (Pacing(pace="fast"), [0.0, 0.0]),
        (Pacing(pace="fixed", per_s=4), [0.0, 0.25]),
    ],
)
def test_a_pace_says_when_each_message_is_due(pacing: Pacing, due_s: list[float]) -> None:
    assert pacing.due_s(5_000_000, [6_000_000, 66_000_000]) == due_s
