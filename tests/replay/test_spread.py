from __future__ import annotations

import random
from collections import Counter

import pytest

from megabot_cli.replay.spread import Spread, percentile


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.95, 4.0), (1.0, 4.0), (0.0, 1.0)])
def test_a_percentile_is_a_value_that_occurred(share: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == value


def test_a_percentile_of_nothing_is_0() -> None:
    assert percentile([], 0.5) == 0.0
    assert Spread().percentiles(0.5, 1.0) == [0.0, 0.0]


def test_a_spread_of_few_values_is_exact() -> None:
    spread = Spread([4.0, 1.0, 3.0, 2.0])
    assert spread.percentiles(0.5, 0.95, 1.0) == [2.0, 4.0, 4.0]
    assert (spread.count, spread.mean, spread.greatest) == (4, 2.5, 4.0)


def test_a_spread_of_many_keeps_few_and_loses_neither_count_nor_greatest() -> None:
    values = [float(each) for each in range(10_000)]
    random.Random(1).shuffle(values)
    spread = Spread(values, most=1_000)
    assert 300 < len(spread._kept) <= 1_000
    assert (spread.count, spread.mean, spread.greatest) == (10_000, 4_999.5, 9_999.0)
    assert spread.percentiles(1.0) == [9_999.0]
    assert spread.percentiles(0.5)[0] == pytest.approx(5_000, abs=500)


def test_of_many_values_each_is_as_likely_to_be_kept_whenever_it_came() -> None:
    kept: Counter[int] = Counter()
    for seed in range(1_000):
        spread = Spread(most=10)
        spread._chance.seed(seed)
        for first in range(0, 100, 7):
            spread.extend([float(value) for value in range(first, min(100, first + 7))])
        assert len(spread._kept) <= 10
        kept.update(int(value) // 10 for value in spread._kept)
    mean = kept.total() / 10
    assert all(0.85 * mean < count < 1.15 * mean for count in kept.values()), kept


def test_more_than_eight_halvings_keep_some_still() -> None:
    values = [float(each) for each in range(200_000)]
    spread = Spread(most=200)
    for start in range(0, len(values), 50_000):
        spread.extend(values[start : start + 50_000])
    assert spread._halvings > 8
    assert 50 < len(spread._kept) <= 200
    assert spread.percentiles(0.5)[0] == pytest.approx(100_000, rel=0.3)


def test_a_copy_goes_its_own_way() -> None:
    spread = Spread([1.0])
    spread.copy().extend([5.0])
    assert (spread.count, spread.greatest) == (1, 1.0)
