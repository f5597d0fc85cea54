from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from megabot_cli import app
from megabot_cli.commands import recordings_grep
from megabot_cli.recording.record import Record
from tests.storage.conftest import segment_bytes

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


def test_a_recording_that_is_pruned_before_its_turn_ends_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEGABOT_HOME", str(tmp_path))
    places = [("rec_gone", tmp_path / "rec_gone", True), ("rec_1", SEALED, True)]
    monkeypatch.setattr(recordings_grep, "_sources", lambda *_: places)
    assert app.main(["rec", "grep", "", "--names"]) == 0
    said = capsys.readouterr()
    assert said.out == "rec_1\n"
    assert "rec_gone" in said.err
    assert "removed meanwhile" in said.err


def test_a_recording_that_was_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEGABOT_HOME", str(tmp_path))
    assert app.main(["rec", "grep", "", str(tmp_path / "rec_gone"), str(SEALED)]) == 9
    assert "There is no recording" in capsys.readouterr().err


def test_a_folder_of_recordings_is_looked_through_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEGABOT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "kept"
    for name in ("rec_1", "rec_2"):
        shutil.copytree(SEALED, folder / name)
    assert app.main(["rec", "grep", "", str(folder), "--names"]) == 0
    found = capsys.readouterr().out.splitlines()
    assert sorted(found) == [str(folder / "rec_1"), str(folder / "rec_2")]


@pytest.mark.parametrize("where", [[], ["--from", "n=1"]])
def test_as_many_are_counted_as_lines_are_shown_though_a_greeting_was_passed_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: list[str],
) -> None:
    monkeypatch.setenv("MEGABOT_HOME", str(tmp_path / "home"))
    named = "connection_established"
    text = json.dumps({"type": named, "payload": {"session_id": "sess_1"}})
    kinds = ["message", "inject", "inject", "message", "inject", "message"]
    records = [
        Record(
            n=n, t=n, kind=kind, direction="to_client", session="sess_1", type=named, data=text,
        )
        for n, kind in enumerate(kinds, 1)
    ]  # fmt: skip
    path = tmp_path / "one.jsonl"
    path.write_bytes(segment_bytes(records))

    def lines(*words: str) -> list[str]:
        assert app.main(["rec", *words, *where]) == 0
        return capsys.readouterr().out.splitlines()

    assert len(lines("show", str(path))) == 4
    assert len(lines("show", str(path), "--limit", "3")) == 3
    assert lines("show", str(path), "--limit", "3") == lines("show", str(path))[:3]
    assert len(lines("grep", "sess", str(path))) == 4
    assert lines("grep", "sess", str(path), "--count") == ["4"]
    assert lines("grep", "sess", str(path), "--count", "--limit", "3") == ["3"]
    # A program gets all that was sent, and so it does with events.
    assert len(lines("show", str(path), "--json", "--limit", "3")) == 3
    assert json.loads(lines("grep", "sess", str(path), "--count", "-o", "jsonl")[0])["count"] == 6
    assert lines("grep", "sess", str(path), "--count", "--events") == ["6"]
