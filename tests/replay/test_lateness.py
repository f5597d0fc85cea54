from __future__ import annotations

import pytest

from megabot_cli.replay.lateness import Lateness, percentile


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
