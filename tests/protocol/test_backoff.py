"""When the next attempt is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.backoff import Backoff, FullJitter, Linear

attempts = st.integers(min_value=1, max_value=10**6)
chances = st.floats(min_value=0, max_value=1)


def test_the_specifications_schedule_is_five_attempts_a_second_more_each() -> None:
    assert [Linear().delay_s(n, 0.5) for n in range(1, 7)] == [1, 2, 3, 4, 5, None]


def test_the_bound_doubles_until_thirty_seconds() -> None:
    bounds = [FullJitter().delay_s(n, 1.0) for n in range(1, 9)]
    assert bounds == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(attempts, chances)
def test_full_jitter_never_gives_up_and_stays_below_its_bound(attempt: int, chance: float) -> None:
    delay = FullJitter().delay_s(attempt, chance)
    assert delay is not None
    assert 0 <= delay <= min(30.0, 0.5 * 2.0 ** min(attempt - 1, 30))


@given(attempts, chances, chances)
def test_chance_decides_between_nothing_and_the_bound(
    attempt: int, smaller: float, larger: float
) -> None:
    smaller, larger = sorted((smaller, larger))
    early, late = (FullJitter().delay_s(attempt, chance) for chance in (smaller, larger))
    assert early is not None
    assert late is not None
    assert early <= late
    assert FullJitter().delay_s(attempt, 0) == 0


@given(attempts, chances, st.integers(min_value=0, max_value=20))
def test_a_linear_schedule_ends_after_its_attempts(attempt: int, chance: float, most: int) -> None:
    delay = Linear(first_s=0.25, attempts=most).delay_s(attempt, chance)
    assert delay == (None if attempt > most else 0.25 * attempt)


@pytest.mark.parametrize("schedule", [Linear(), FullJitter()])
def test_both_are_schedules(schedule: Backoff) -> None:
    assert schedule.delay_s(1, 0.5) is not None
