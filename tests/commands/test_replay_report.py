"""What a replay shows in the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from megabot_cli.commands.replay_report import Stage, show
from megabot_cli.replay.budgets import Figures
from megabot_cli.replay.compare import Verdict
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.outcome import Played
from megabot_cli.replay.report import Difference, ReplayReport
from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.text import display_width


def test_a_difference_is_told_in_the_width_there_is() -> None:
    difference = Difference(
        n=13,
        client="c1",
        type="chat_send",
        verdict=Verdict.DIFFERENT,
        detail="step 1: recorded connection_established, now a message without type",
        recorded="one",
        replayed="two",
    )
    report = ReplayReport(
        sent=1, held_back={}, clients=1, replies=1, unasked=0, differences=[difference]
    )
    console = MemoryConsole(terminal=True, width=60)
    invocation: Any = SimpleNamespace(console=console, output="text")
    stage = Stage(Path("x"), ReplayOptions(), rate_limited=True)
    show(invocation, stage, Played(report, [], Figures({}, {}, {})))
    title = console.stdout[console.stdout.index("record 13") :]
    assert all(display_width(line) <= 60 for line in title.splitlines())
    assert "message without" in " ".join(title.split())
