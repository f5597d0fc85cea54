"""`--around N` counts what a command shows or keeps, and nothing that it hides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megabot_cli import app
from megabot_cli.recording.record import Record
from megabot_cli.storage.recording_reader import open_recording
from tests.storage.conftest import segment_bytes

GREETING = "connection_established"
# What each record is, in its order: the upstream's greeting, and the relay's of the same session.
KINDS = (
    "m",
    "o",
    "m",
    "GREETED",
    "PASSED_ON",
    "o",
    "m",
    "ERROR",
    "o",
    "p",
    "m",
    "c",
    "m",
    "o",
    "m",
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    records = []
    for n, what in enumerate(KINDS, 1):
        record = Record(n=n, t=n, kind="message", direction="to_client", session="s", size=2)
        record.kind = {"o": "open", "p": "ping", "c": "close", "PASSED_ON": "inject"}.get(
            what, "message"
        )
        if record.kind in ("message", "inject"):
            is_greeting = what in ("GREETED", "PASSED_ON")
            record.type = GREETING if is_greeting else "error" if what == "ERROR" else "chat_send"
            record.id, record.data = f"m{n}", "{}"
        records.append(record)
    path = tmp_path / "one.jsonl"
    path.write_bytes(segment_bytes(records))
    return path


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[int]:
    """The numbers of the records that a command shows, one a line."""
    assert app.main([*words, "--type", "error", "--around", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line)["n"] if "jsonl" in words else int(line) for line in lines]


COMMANDS = {
    "show": ("rec", "show", "{}"),
    "grep": ("rec", "grep", "", "{}"),
    "tail": ("tail", "{}", "--no-follow"),
    "tail all": ("tail", "{}", "--no-follow", "--stats"),
    "tail last": ("tail", "{}", "--no-follow", "-n", "99"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("more", "numbers"),
    [
        (("--template", "{n}"), [5, 7, 8, 11, 13]),
        (("-o", "jsonl"), [5, 7, 8, 11, 13]),
        (("-o", "jsonl", "--events"), [6, 7, 8, 9, 10]),
    ],
)
def test_what_is_hidden_takes_no_place(
    command: str,
    more: tuple[str, ...],
    numbers: list[int],
    recording: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(recording) for word in COMMANDS[command]]
    assert shown(capsys, *words, *more) == numbers


@pytest.mark.parametrize("command", COMMANDS)
def test_a_greeting_that_is_one_line_takes_one_place(
    command: str, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(recording) for word in COMMANDS[command]]
    assert app.main([*words, "--type", "error", "--around", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [GREETING in line for line in lines] == [False, True, False, False, False, False, False]


def test_what_keeps_everything_counts_everything(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part.jsonl"
    words = ["--type", "error", "--around", "2"]
    assert app.main(["rec", "cut", str(recording), str(part), *words]) == 0
    with open_recording(part) as reader:
        assert [record.n for record in reader if record.note is None] == [6, 7, 8, 9, 10]
    assert app.main(["rec", "stats", str(recording), "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 5
    assert app.main(["tail", str(recording), "--no-follow", "--limit", "1", *words]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
