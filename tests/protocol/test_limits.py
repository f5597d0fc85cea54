"""The bucket lets through what the rate allows, no more and no later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.limits import TokenBucket

rates = st.floats(min_value=0.01, max_value=100_000)
bursts = st.floats(min_value=0, max_value=1000)
starts = st.floats(min_value=0, max_value=2e9)  # a clock since boot, or since 1970
steps = st.lists(st.floats(min_value=0, max_value=10), max_size=60)


def test_a_burst_may_leave_at_once_and_no_more() -> None:
    bucket = TokenBucket(rate=10, burst=10, now=0)
    assert [bucket.take(0) for _ in range(11)] == [True] * 10 + [False]
    assert bucket.wait_s(0) == pytest.approx(0.1)


def test_tokens_come_back_at_the_rate() -> None:
    bucket = TokenBucket(rate=10, burst=10, now=0)
    for _ in range(10):
        bucket.take(0)
    assert not bucket.take(0.099)
    assert bucket.take(0.1)
    assert not bucket.take(0.199)
    assert bucket.take(0.2)


def test_no_more_is_saved_than_a_burst() -> None:
    bucket = TokenBucket(rate=10, burst=3, now=0)
    assert [bucket.take(3600) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_of_0_is_no_limit(rate: float) -> None:
    bucket = TokenBucket(rate, burst=1, now=0)
    assert all(bucket.take(0) for _ in range(1000))
    assert bucket.wait_s(0) == 0


@pytest.mark.parametrize("burst", [0, 0.5, -3])
def test_a_burst_below_one_still_lets_one_through(burst: float) -> None:
    bucket = TokenBucket(rate=2, burst=burst, now=0)
    assert bucket.take(0)
    assert not bucket.take(0.4)
    assert bucket.take(0.5)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=10, burst=1, now=100)
    assert bucket.take(100)
    assert not bucket.take(50)
    assert not bucket.take(100.05)
    assert bucket.take(100.1)


def test_a_refusal_costs_nothing() -> None:
    patient, eager = TokenBucket(1, 1, 0), TokenBucket(1, 1, 0)
    patient.take(0)
    eager.take(0)
    assert not any(eager.take(moment / 1000) for moment in range(1000))
    assert patient.take(1)
    assert eager.take(1)


@given(rates, bursts, starts, steps)
def test_any_arrivals_never_exceed_rate_times_time_plus_burst(
    rate: float, burst: float, start: float, pauses: list[float]
) -> None:
    bucket, now, taken = TokenBucket(rate, burst, start), start, [start]
    for pause in pauses:
        now += pause
        while bucket.take(now) and len(taken) < 3000:
            taken.append(now)
    moments = taken[1:]
    for first in range(0, len(moments), 7):  # any window, not only from the start
        window = moments[first:]
        allowed = rate * (window[-1] - window[0]) + bucket.burst
        assert len(window) <= allowed * (1 + 1e-9) + 1e-6


@given(rates, bursts, starts, steps)
def test_after_the_wait_that_was_told_the_next_may_leave(
    rate: float, burst: float, start: float, pauses: list[float]
) -> None:
    bucket, now = TokenBucket(rate, burst, start), start
    for pause in pauses:
        now += pause
        wait = bucket.wait_s(now)
        assert (wait == 0) == bucket.take(now)
        if wait:
            assert now + wait > now
            assert bucket.take(now + wait)
            now += wait


@given(rates, starts)
def test_the_wait_is_no_longer_than_a_token_takes(rate: float, start: float) -> None:
    bucket = TokenBucket(rate, 1, start)
    bucket.take(start)
    assert bucket.wait_s(start) <= 1 / rate + 1e-6


def test_what_was_more_than_one_is_charged_afterwards_and_not_forgiven() -> None:
    bucket = TokenBucket(10.0, 1.0, 0.0)
    assert bucket.take(0.0)
    bucket.charge(9)
    bucket.take_all(0.5)
    assert bucket.wait_s(0.5) == pytest.approx(0.5)
    assert not bucket.take(0.9)
    assert bucket.take(1.0)
