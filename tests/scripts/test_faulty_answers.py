"""Answers whose chunks do not come as they should: the words are in order, and it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.support.processes import running_processes

# Of each answer the chunks that come: number, and whether it is the last.
ANSWERS = {
    "hole": ((1, False), (4, True)),
    "mixed up": ((1, False), (3, False), (2, False), (2, False), (4, True)),
    "in order": ((1, False), (2, True)),
}


def rule(question: str, chunks: Sequence[tuple[int, bool]]) -> dict[str, object]:
    steps = [
        {
            "send": {
                "type": "chat_stream",
                "payload": {"chunk": f"<{number}>", "is_complete": last, "sequence": number},
            }
        }
        for number, last in chunks
    ]
    return {"match": {"type": "chat_send", "text": question}, "steps": steps}


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Logged in where answers are as their questions say."""
    folder = tmp_path_factory.mktemp("faulty")
    scenario = folder / "scenario.yaml"
    scenario.write_text(json.dumps({"rules": [rule(*each) for each in ANSWERS.items()]}))
    with running_processes(folder) as processes:
        url = start_gateway(processes, "--listen", ":0", "--scenario", str(scenario))
        bob = Operator(Path(tmp_path_factory.mktemp("bob")), url)
        bob.logs_in()
        yield bob


@pytest.mark.parametrize("form", [("send", "hole"), ("send", "--no-stream", "hole"), ("chat",)])
def test_chunks_that_did_not_come_are_told(bob: Operator, form: tuple[str, ...]) -> None:
    done = bob.types(*form, typed="hole\n")
    assert (done.returncode, done.stdout) == (0, "<1><4>\n")
    assert done.stderr == "warning: 2 chunks of the answer did not come\n"
    assert bob.types("-q", *form, typed="hole\n").stderr == ""


def test_what_did_not_come_is_told_where_an_answer_is_assembled(
    bob: Operator, tmp_path: Path
) -> None:
    assert bob.types("send", "hole", "--record", str(tmp_path)).returncode == 0
    (recording,) = map(str, tmp_path.iterdir())
    for line in (("tail", "--no-follow"), ("rec", "show")):
        done = bob.types(*line, recording, "--assemble", "--type", "chat_*")
        assert done.stdout.splitlines()[-1].endswith("<1><4> (2 chunks of the answer did not come)")
        done = bob.types(*line, recording, "--assemble", "--where", "size > 10")
        assert "<1><4> (2 chunks of the answer are not here)\n" in done.stdout
    shown = bob.types("rec", "show", recording, "--conversation").stdout
    assert "<1><4>\n  (2 chunks of the answer did not come)\n" in shown


def test_a_line_of_many_says_how_many_are_missing(bob: Operator) -> None:
    done = bob.types("send", "--jsonl", "-", typed="hole\nin order\n")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["answer"], first["chunks"], first["missing"]) == ("<1><4>", 2, 2)
    assert (second["answer"], second["chunks"]) == ("<1><2>", 2)
    assert "missing" not in second


@pytest.mark.parametrize("form", [("send", "mixed up"), ("chat",)])
def test_chunks_out_of_order_are_put_right_and_told_with_v(
    bob: Operator, form: tuple[str, ...]
) -> None:
    done = bob.types(*form, typed="mixed up\n")
    assert (done.stdout, done.stderr) == ("<1><2><3><4>\n", "")
    told = bob.types("-v", *form, typed="mixed up\n").stderr
    assert "the answer's chunks were put in order: 1 hole, 1 repeat" in told


def test_of_chunks_in_order_nothing_is_said(bob: Operator) -> None:
    assert "chunk" not in bob.types("-v", "send", "in order").stderr
