"""Two recordings compared, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator


def talk(path: Path, seed: int) -> str:
    """A question and its answer, which holds a seed."""
    asked = {"id": "q", "type": "chat_send", "payload": {"content": "Roll."}}
    told = {
        "id": "a",
        "type": "chat_receive",
        "payload": {"content": "A six.", "seed": seed},
        "metadata": {"reply_to": "q"},
    }
    path.write_text(json.dumps(asked) + "\n" + json.dumps(told) + "\n")
    return str(path)


def test_what_is_ignored_does_not_count_in_answers_either(
    stranger: Operator, tmp_path: Path
) -> None:
    two = talk(tmp_path / "one.jsonl", 1), talk(tmp_path / "two.jsonl", 2)
    assert stranger.types("rec", "diff", *two).returncode == 13
    done = stranger.types("rec", "diff", *two, "--ignore", "payload.seed")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [("diff",), ("grep", "x")])
def test_standard_input_is_not_read_twice(stranger: Operator, words: tuple[str, ...]) -> None:
    done = stranger.types("rec", *words, "-", "-", typed="{}")
    assert done.returncode == 2
    assert "once only" in done.stderr


def test_that_requests_alone_were_compared_is_told(stranger: Operator, tmp_path: Path) -> None:
    two = talk(tmp_path / "one.jsonl", 1), talk(tmp_path / "two.jsonl", 2)
    done = stranger.types("rec", "diff", *two, "--type", "chat_send")
    assert done.returncode == 0
    assert "the requests alone were compared" in done.stderr
    assert "alone" not in stranger.types("rec", "diff", *two).stderr
