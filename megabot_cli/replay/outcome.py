"""What a replay came to: one round of it, several together, or the fault that ended it."""

from __future__ import annotations

import msgspec

from megabot_cli.errors import MegabotError
from megabot_cli.replay.budgets import Figures
from megabot_cli.replay.judging import timing
from megabot_cli.replay.junit import Case
from megabot_cli.replay.lateness import summary_of
from megabot_cli.replay.report import MOST_DIFFERENCES, ReplayReport


class Played(msgspec.Struct, frozen=True):
    """What a replay came to: the report, each verdict, and the figures that budgets are about."""

    report: ReplayReport
    cases: list[Case]
    figures: Figures


def together(played: list[Played], *, stopped: bool) -> Played:
    """Several rounds as one replay."""
    first, reports = played[0], [each.report for each in played]
    now = {
        name: [value for each in played for value in each.figures.now[name]]
        for name in first.figures.now
    }
    counts = {
        name: sum(getattr(report, name) for report in reports)
        for name in (
            "sent",
            "replies",
            "unasked",
            "uncompared",
            "failed",
            "context",
            *first.figures.counts,
        )
    }
    report = msgspec.structs.replace(
        first.report,
        **counts,
        passed=all(report.passed for report in reports),
        rounds=len(played),
        stopped=stopped,
        duration_s=sum(report.duration_s for report in reports),
        lateness=summary_of(now["lateness_ms"]),
        recorded_timing=timing(first.figures.recorded),
        replayed_timing=timing(now),
        differences=[each for report in reports for each in report.differences][:MOST_DIFFERENCES],
    )
    cases = [case for each in played for case in each.cases]
    return Played(report, cases, Figures(now, first.figures.recorded, counts))


def cause_of(faults: ExceptionGroup[Exception]) -> Exception:
    """What to tell of several tasks that failed at once: a fault of ours before any other."""
    flat = [
        cause_of(each) if isinstance(each, ExceptionGroup) else each for each in faults.exceptions
    ]
    return next((fault for fault in flat if not isinstance(fault, MegabotError)), flat[0])
