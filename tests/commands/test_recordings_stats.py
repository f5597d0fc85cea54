"""A recording in numbers and pictures, on a narrow terminal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from megabot_cli import app
from megabot_cli.commands.recordings_stats import print_summary
from megabot_cli.recording.selection import Selection
from megabot_cli.recording.statistics import Statistics
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.foreign import open_any
from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.text import display_width

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_picture_is_wider_than_the_terminal(width: int) -> None:
    counted = Statistics()
    with open_any(SEALED) as reader:
        for record, _ in choose(reader, Selection()):
            counted.take(record)
    console = MemoryConsole(terminal=True, width=width)
    print_summary(console, "golden", counted.summary())
    assert any("█" in line and "≤" in line for line in console.stdout.splitlines())
    assert max(map(display_width, console.stdout.splitlines())) <= width


@pytest.mark.parametrize("around", [(), ("--around",), ("--around", "1")])
def test_what_is_counted_with_its_neighbours_is_what_is_cut_with_them(
    around: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--type", "chat_receive", *around)
    cut = tmp_path / "cut.jsonl"
    assert app.main(["rec", "cut", str(SEALED), str(cut), *chosen]) == 0
    assert app.main(["rec", "stats", str(SEALED), "--json", *chosen]) == 0
    counted = json.loads(capsys.readouterr().out)
    with open_any(cut) as reader:
        records = [record for record, _ in choose(reader, Selection())]
    kinds = Counter(record.kind for record in records if record.kind != "cut")
    assert counted["kinds"] == dict(kinds)
    assert counted["records"] > 1 or not around
