"""What a replay shows in the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megabot_cli.commands.replay_report import Stage, show
from megabot_cli.replay.budgets import Figures
from megabot_cli.replay.compare import Verdict
from megabot_cli.replay.options import Expectation, ReplayOptions
from megabot_cli.replay.outcome import Played
from megabot_cli.replay.report import Difference, ReplayReport
from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.text import display_width


def difference(n: int = 13, replayed: str = "two") -> Difference:
    return Difference(
        n=n,
        client="c1",
        type="chat_send",
        verdict=Verdict.DIFFERENT,
        detail="step 1: recorded connection_established, now a message without type",
        recorded="one",
        replayed=replayed,
    )


def shown(differences: list[Difference], expect: Expectation = "shape", **terminal: Any) -> str:
    report = ReplayReport(
        sent=1,
        held_back={},
        clients=1,
        replies=1,
        unasked=0,
        different=len(differences),
        expect=expect,
        differences=differences,
    )
    console = MemoryConsole(**terminal)
    invocation: Any = SimpleNamespace(console=console, output="text")
    stage = Stage(Path("x"), ReplayOptions(), rate_limited=True)
    show(invocation, stage, Played(report, [], Figures({}, {}, {})))
    return console.stdout


def test_a_difference_is_told_in_the_width_there_is() -> None:
    text = shown([difference()], terminal=True, width=60)
    title = text[text.index("record 13") :]
    assert all(display_width(line) <= 60 for line in title.splitlines())
    assert "message without" in " ".join(title.split())


@pytest.mark.parametrize("terminal", [{}, {"terminal": True, "width": 200}])
def test_what_differs_alike_in_several_rounds_is_told_once(terminal: dict[str, Any]) -> None:
    one_round = [difference(n) for n in range(1, 8)]
    text = shown([*one_round, *one_round, difference(1, "three")], **terminal)
    titles = [line for line in text.splitlines() if "record " in line]
    assert len(titles) == 8
    assert all("(2 times)" in title for title in titles[:7])
    assert "times)" not in titles[7]
    assert "more" not in text


@pytest.mark.parametrize("terminal", [{}, {"terminal": True, "width": 200}])
def test_where_nothing_is_expected_differences_are_counted_and_not_laid_out(
    terminal: dict[str, Any],
) -> None:
    text = shown([difference(n) for n in range(1, 14)], "none", **terminal)
    assert "13 different" in text
    assert "record " not in text
    assert "more" not in text
    assert "--json tells where" in text
    assert "--json tells where" not in shown([], "none", **terminal)
