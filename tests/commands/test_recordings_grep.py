from __future__ import annotations

from pathlib import Path

import pytest

from megabot_cli import app
from megabot_cli.commands import recordings_grep

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


def test_a_recording_that_is_pruned_before_its_turn_ends_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEGABOT_HOME", str(tmp_path))
    places = [("rec_gone", tmp_path / "rec_gone"), ("rec_1", SEALED)]
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
