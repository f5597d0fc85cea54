from __future__ import annotations

import pytest

from megabot_cli.errors import WrongUsage
from megabot_cli.replay.budgets import Budget, Figures
from megabot_cli.replay.spread import Spread


def spreads(first: list[float], total: list[float]) -> dict[str, Spread]:
    return {
        "first_chunk_ms": Spread(first), "total_ms": Spread(total), "lateness_ms": Spread(),
    }  # fmt: skip


FIGURES = Figures(
    now=spreads([10, 20, 300], [100, 200]),
    recorded=spreads([10, 20, 100], [100, 200]),
    counts={"sent": 3, "missing": 1},
)


@pytest.mark.parametrize(
    ("budget", "kept", "value", "allowed"),
    [
        ("first_chunk_ms.p50 < 25", True, 20, 25),
        ("first_chunk_ms.max <= 1.5 * recorded", False, 300, 150),
        ("first_chunk_ms.p50 <= recorded", True, 20, 20),
        ("total_ms.mean==150", True, 150, 150),
        ("missing == 0", False, 1, 0),
        ("sent>=3", True, 3, 3),
        ("lateness_ms.p99 < 2", True, 0, 2),
    ],
)
def test_a_budget_is_kept_or_not(budget: str, kept: bool, value: float, allowed: float) -> None:
    verdict = Budget(budget).judge(FIGURES)
    assert (verdict.kept, verdict.value, verdict.allowed) == (kept, value, allowed)


@pytest.mark.parametrize(
    ("now", "recorded", "budget", "why"),
    [
        ([], [1.0], "total_ms.p95 < 500", "no answer came"),
        ([], [], "first_chunk_ms.max <= recorded", "no answer came"),
        ([1.0], [], "first_chunk_ms.p50 < 2 * recorded", "no answer was recorded"),
    ],
)
def test_a_time_that_no_answer_took_keeps_no_budget(
    now: list[float], recorded: list[float], budget: str, why: str
) -> None:
    figures = Figures(spreads(now, now), spreads(recorded, recorded), {})
    verdict = Budget(budget).judge(figures)
    assert (verdict.kept, verdict.unmeasured) == (False, why)


@pytest.mark.parametrize(
    ("budget", "column", "said"),
    [
        ("firs_chunk_ms.p95 < 3", 1, "did you mean first_chunk_ms"),
        ("total_ms < 3", 1, "needs a statistic"),
        ("total_ms.p42 < 3", 10, "There is no statistic 'p42'"),
        ("total_ms.p95 is 3", 14, "a comparison is missing"),
        ("total_ms.p95 < fast", 16, "a number is missing"),
        ("lateness_ms.max < recorded", 17, "Nothing is recorded"),
        ("missing < 2 * recorded", 9, "Nothing is recorded"),
        ("", 1, "begins with a figure"),
    ],
)
def test_what_is_no_budget_is_told_at_its_column(budget: str, column: int, said: str) -> None:
    with pytest.raises(WrongUsage, match=f"column {column}:.*{said}"):
        Budget(budget)
