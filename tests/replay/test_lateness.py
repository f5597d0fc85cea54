from __future__ import annotations

import pytest

from megabot_cli.replay.lateness import Lateness, summary_of
from megabot_cli.replay.spread import Spread


def test_lateness_counts_an_early_message_as_in_time() -> None:
    lateness = Lateness()
    for at in (9.0, 10.0, 10.0005, 10.1):
        lateness.note(10.0, at)
    summary = summary_of(Spread(lateness.values_ms()), lateness.late())
    assert summary.p50_ms == 0.0
    assert summary.p95_ms == pytest.approx(100.0)
    assert summary.max_ms == pytest.approx(100.0)


def test_late_is_what_leaves_more_than_a_millisecond_after_its_time() -> None:
    lateness = Lateness()
    for at in (9.0, 10.0, 10.0005, 10.1):
        lateness.note(10.0, at)
    assert summary_of(Spread(lateness.values_ms()), lateness.late()).late == 1
