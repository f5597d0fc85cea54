from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from megabot_cli import app
from megabot_cli.commands import recordings_grep

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
