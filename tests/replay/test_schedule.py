from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.pace import capped_offsets_s
from megabot_cli.replay.schedule import Lateness, percentile
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


def test_lateness_counts_an_early_message_as_in_time() -> None:
    lateness = Lateness()
    for at in (9.0, 10.0, 10.001, 10.1):
        lateness.note(10.0, at)
    summary = lateness.summary()
    assert summary.p50_ms == 0.0
    assert summary.p95_ms == pytest.approx(100.0)
    assert summary.max_ms == pytest.approx(100.0)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.95, 4.0), (1.0, 4.0), (0.0, 1.0)])
def test_a_percentile_is_a_value_that_occurred(share: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == value


def test_a_percentile_of_nothing_is_0() -> None:
    assert percentile([], 0.5) == 0.0
