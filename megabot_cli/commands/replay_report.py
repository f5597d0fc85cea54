"""What a replay came to: shown, written for others, and judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from megabot_cli.commands.invocation import Invocation
from megabot_cli.errors import BadConfiguration, ExpectationFailed, MegabotError
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.replay.budgets import Budget
    from megabot_cli.replay.budgets import Verdict as BudgetVerdict
    from megabot_cli.replay.options import ReplayOptions
    from megabot_cli.replay.outcome import Played
    from megabot_cli.replay.player import Replay
    from megabot_cli.replay.report import ReplayReport
    from megabot_cli.terminal.console import Console


@dataclass(frozen=True)
class Stage:
    """What is replayed, how its clients are made, and what is asked of the outcome."""

    source: Path | str
    options: ReplayOptions
    rate_limited: bool
    rounds: int = 1
    max_lateness_s: float | None = None
    budgets: tuple[Budget, ...] = ()
    control: Path | None = None
    junit: Path | None = None
    write_ignore: Path | None = None
    keyboard: bool = False


def show(invocation: Invocation, stage: Stage, played: Played) -> list[BudgetVerdict]:
    """The report on stdout; returns what became of budgets."""
    budgets = [budget.judge(played.figures) for budget in stage.budgets]
    report = played.report
    if invocation.output == "json":
        facts = report.as_dict()
        if budgets:
            facts["budgets"] = [
                {"budget": each.budget, "kept": each.kept, "value": each.value,
                 "allowed": each.allowed, "unmeasured": each.unmeasured}
                for each in budgets
            ]  # fmt: skip
        invocation.console.json(facts)
    else:
        console = invocation.console
        lines = report.lines(differences=console.width is None)
        for each in budgets:
            sign = "kept" if each.kept else "broken"
            was = each.unmeasured or f"{each.value:.1f}, {each.allowed:.1f}"
            lines.append(f"budget     {sign}: {each.budget} ({was})")
        print_lines(invocation, lines)
        if console.width is not None:
            _show_differences(console, report, console.width)
    return budgets


def _show_differences(console: Console, report: ReplayReport, width: int) -> None:
    """The first of them beside each other."""
    from megabot_cli.replay.report import MOST_SHOWN
    from megabot_cli.terminal.side_by_side import side_by_side
    from megabot_cli.terminal.text import safe_line, wrap

    told = report.titled_differences()
    for title, difference in told[:MOST_SHOWN]:
        console.line()
        for line in wrap(safe_line(title), width).split("\n"):
            console.line(console.paint(line, "bold"))
        texts = difference.recorded, difference.replayed
        for line in side_by_side(console, *texts, ("recorded", "now"), width):
            console.line(line)
    if len(told) > MOST_SHOWN:
        console.line(f"… and {len(told) - MOST_SHOWN} more (--json)")


def write_files(
    invocation: Invocation,
    stage: Stage,
    replay: Replay | None,
    ended_by: tuple[str, str] | None = None,
) -> MegabotError | None:
    """What is wanted beside the report. Warns of what cannot be written, and returns the fault:
    the verdict comes before it."""
    from megabot_cli.replay.varying import write_ignored

    played = replay.so_far() if replay is not None and replay.rounds_begun else None
    unwritten = None
    try:
        if stage.write_ignore is not None and played is not None:
            report = played.report
            write_ignored(stage.write_ignore, played.varied, report.compared // report.rounds)
    except BadConfiguration as fault:
        unwritten = fault
    try:
        if stage.junit is not None:
            _write_junit(stage.junit, stage, played, ended_by)
    except BadConfiguration as fault:
        unwritten = fault
    if unwritten is not None:
        invocation.console.warn(unwritten.message)
    return unwritten


def check_files(stage: Stage) -> None:
    """BadConfiguration for files that cannot be written when all has been sent and judged."""
    import os

    for flag, path in (("--junit", stage.junit), ("--write-ignore", stage.write_ignore)):
        if path is None:
            continue
        if path.is_dir():
            why = "it is a folder"
        elif not path.absolute().parent.is_dir():
            why = "there is no such folder"
        elif not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            why = "permission denied"
        else:
            continue
        raise BadConfiguration(f"Cannot write {path}: {why}", f"{flag} wants a file name.")


def _write_junit(
    path: Path, stage: Stage, played: Played | None, ended_by: tuple[str, str] | None
) -> None:
    from megabot_cli.replay.budgets import Budget
    from megabot_cli.replay.junit import junit

    budgets = list(stage.budgets)
    if stage.max_lateness_s is not None:
        most_ms = f"{stage.max_lateness_s * 1000:.6f}".rstrip("0").rstrip(".")
        budgets.append(Budget(f"lateness_ms.max <= {most_ms}"))
    try:
        text = junit(
            played.cases if played is not None else [],
            [budget.judge(played.figures) for budget in budgets] if played is not None else [],
            played.report.duration_s if played is not None else 0.0,
            ended_by,
        )
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise BadConfiguration(
            f"Cannot write {path}: {fault.strerror or fault}", "--junit wants a file name."
        ) from fault


def judge(stage: Stage, played: Played, budgets: list[BudgetVerdict]) -> None:
    report, expect = played.report, stage.options.expect
    if not report.passed:
        raise ExpectationFailed(
            f"Other than recorded: {counted(report.failed, 'answer')} (--expect {expect})",
            f"--expect {'shape or none' if expect == 'exact' else 'none'} asks for less; "
            "--ignore PATH leaves a field out.",
        )
    late_ms = report.lateness.max_ms
    if stage.max_lateness_s is not None and late_ms > stage.max_lateness_s * 1000:
        raise ExpectationFailed(
            f"A message left {late_ms:.1f} ms late, more than --max-lateness allows",
            "A slower pace (--speed), or a machine with less to do.",
        )
    broken = [each for each in budgets if not each.kept]
    if broken:
        first = broken[0]
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        was = first.unmeasured or f"it was {first.value:.1f}, {first.allowed:.1f} allowed"
        raise ExpectationFailed(
            f"A budget was not kept: {first.budget} ({was}){more}",
            "The report above has all figures.",
        )


def print_lines(invocation: Invocation, lines: list[str]) -> None:
    from megabot_cli.terminal.text import safe_line

    for line in lines:
        invocation.console.line(safe_line(line))
