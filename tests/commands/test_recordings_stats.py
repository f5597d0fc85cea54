"""A recording in numbers and pictures, on a narrow terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

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
