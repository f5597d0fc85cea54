from __future__ import annotations

import random

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
    assert len(spread._kept) == 1_000
    assert (spread.count, spread.mean, spread.greatest) == (10_000, 4_999.5, 9_999.0)
    assert spread.percentiles(1.0) == [9_999.0]
    assert spread.percentiles(0.5)[0] == pytest.approx(5_000, abs=500)


def test_a_copy_goes_its_own_way() -> None:
    spread = Spread([1.0])
    spread.copy().extend([5.0])
    assert (spread.count, spread.greatest) == (1, 1.0)
