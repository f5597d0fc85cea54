"""A recording in numbers and pictures, on a narrow terminal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from megabot_cli import app
from megabot_cli.commands.recordings_stats import print_summary
from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.recording.statistics import Statistics
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.foreign import open_any
from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.text import display_width
from tests.storage.conftest import segment_bytes
from tests.storage.indexed import sealed_bytes

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


def conversation(*times_s: float) -> list[Record]:
    """A request at the first time, its answer at the second, and so on."""
    found = []
    for n, at_s in enumerate(times_s, 1):
        asks = n % 2 == 1
        record = Record(n=n, t=round(at_s * 1e6), kind="message", session="s", data="{}", size=2)
        record.direction = "to_upstream" if asks else "to_client"
        record.type = "chat_send" if asks else "chat_receive"
        record.id, record.reply_to = (f"m{n}", None) if asks else (None, f"m{n - 1}")
        found.append(record)
    return found


def rec(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    app.main(["rec", *words])
    return capsys.readouterr().out


@pytest.mark.parametrize("sealed", [True, False])
def test_the_length_of_a_recording_is_one_thing_wherever_it_is_told(
    sealed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = conversation(12.5, 20)
    path = tmp_path / "late.jsonl"
    lines = [encode_record(each) for each in records]
    path.write_bytes(sealed_bytes(lines, n=3) if sealed else segment_bytes(records))
    length_s = 1e6 if sealed else 20.0  # an `end` is of the recording too
    (listed,) = json.loads(rec(capsys, "list", str(path), "--json"))
    verified = json.loads(rec(capsys, "verify", str(path), "--json"))
    counted = json.loads(rec(capsys, "stats", str(path), "--json"))
    assert {each["duration_s"] for each in (listed, verified, counted)} == {length_s}
    assert (counted["span_s"], counted["messages_per_s"]) == (7.5, 2 / 7.5)
    text = rec(capsys, "stats", str(path))
    assert "span      7.5 s, from the first record to the last" in text
    assert ("length    20 s" in text) is not sealed
    part = rec(capsys, "stats", str(path), "--from", "13s")
    assert "length" not in part, "of a part nobody else tells one"


def test_an_answer_from_before_its_request_is_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "back.jsonl"
    path.write_bytes(segment_bytes(conversation(5, 4, 6, 6.1)))
    counted = json.loads(rec(capsys, "stats", str(path), "--json"))
    assert (counted["answered"], counted["untimed"], counted["total_ms"]["p50"]) == (2, 1, 100.0)
    text = rec(capsys, "stats", str(path))
    assert "not timed     1 answer: the recording's time goes back there" in text
    assert "-1000" not in text + rec(capsys, "show", str(path), "--conversation")
    only = tmp_path / "only.jsonl"
    only.write_bytes(segment_bytes(conversation(5, 4)))
    assert "p50" not in rec(capsys, "stats", str(only)).partition("requests")[2]
