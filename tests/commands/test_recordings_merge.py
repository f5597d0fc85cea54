"""`recordings merge` with the words that choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from megabot_cli import app
from megabot_cli.storage.verification import verify
from tests.storage.conftest import marks, read, segment_bytes

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.jsonl"
    path.write_bytes(segment_bytes(marks(3)))
    return path


def merge(*words: object) -> int:
    return app.main(["rec", "merge", *map(str, words)])


def test_a_part_of_several_is_a_whole_recording(tmp_path: Path, other: Path) -> None:
    made = tmp_path / "made.jsonl"
    assert merge(SEALED, other, made, "--where", "kind == 'mark' || type == 'chat_send'") == 0
    assert {record.type for record in read(made)} == {None, "chat_send"}
    assert verify(made).clean
    assert verify(made).left_out == 0


@pytest.mark.parametrize("flag", ["--from", "--until"])
def test_a_number_of_one_of_them_is_no_place(
    flag: str, tmp_path: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(SEALED, other, tmp_path / "made", flag, "n=2") == 2
    assert "is a number in one recording, and merging numbers anew" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_a_place_that_none_of_them_has_makes_nothing(
    tmp_path: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(SEALED, other, tmp_path / "made", "--from", "nowhere") == 9
    assert "there is no mark 'nowhere' in any of them" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
    assert merge(SEALED, other, tmp_path / "made", "--until", "no 3", "--type", "none") == 0
    assert "nothing was wanted: the recording is empty" in capsys.readouterr().err
