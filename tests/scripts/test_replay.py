"""A replay as an operator asks for it, and what it leaves behind."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.support.processes import Processes

GOLDEN = Path(__file__).parents[1] / "golden"
SEALED = GOLDEN / "recording_1_0" / "sealed"
LEAST = ("--max-gap", "100ms", "--settle", "5s")


def asked(path: Path, *texts: str) -> Path:
    """Bare messages, a second apart."""
    messages = (
        {
            "id": f"m{n}",
            "type": "chat_send",
            "payload": {"content": text},
            "timestamp": 1640995200 + n,
        }
        for n, text in enumerate(texts)
    )
    path.write_text("".join(json.dumps(each) + "\n" for each in messages))
    return path


def counts_in(path: Path) -> tuple[str | None, ...]:
    suite = ET.parse(path).getroot()  # noqa: S314  our own
    return tuple(suite.get(name) for name in ("tests", "failures", "errors"))


@pytest.fixture
def ends_in_its_second_answer(stranger: Operator, processes: Processes, tmp_path: Path) -> Operator:
    """At a gateway that ends the session when it hears `second`."""
    scenario = tmp_path / "ends.yaml"
    scenario.write_text(
        "description: Ends a session in its second answer.\n"
        "rules:\n"
        "  - match: {type: chat_send, text: second}\n"
        "    steps: [{close: {code: 4508, reason: over}}]\n"
    )
    url = start_gateway(processes, "--listen", ":0", "--scenario", str(scenario))
    ann = Operator(stranger.home, url)
    ann.logs_in()
    return ann


def test_junit_says_that_the_connection_was_lost(
    ends_in_its_second_answer: Operator, tmp_path: Path
) -> None:
    said = asked(tmp_path / "said.jsonl", "first", "second", "third")
    report = tmp_path / "report.xml"
    done = ends_in_its_second_answer.types(
        "replay", str(said), *LEAST, "--expect", "none", "--junit", str(report)
    )
    assert done.returncode == 8, done.stderr
    _, failures, errors = counts_in(report)
    assert (failures, errors) == ("0", "1")
    assert 'type="connection_lost"' in report.read_text()


def test_junit_says_that_nobody_was_there(stranger: Operator, tmp_path: Path) -> None:
    said, report = asked(tmp_path / "said.jsonl", "first"), tmp_path / "report.xml"
    done = stranger.types(
        "replay", str(said), "--to", "ws://127.0.0.1:1/ws", "--junit", str(report)
    )
    assert done.returncode == 7, done.stderr
    assert counts_in(report) == ("1", "0", "1")


def test_junit_fails_where_the_replay_does_and_only_there(ann: Operator, tmp_path: Path) -> None:
    said, report = asked(tmp_path / "said.jsonl", "first", "second"), tmp_path / "report.xml"
    line = ("replay", str(said), *LEAST, "--expect", "none", "--junit", str(report))
    done = ann.types(*line, "--max-lateness", "0.001ms")
    assert (done.returncode, counts_in(report)[1:]) == (13, ("1", "0")), done.stderr
    done = ann.types(*line, "--max-lateness", "1h")
    assert (done.returncode, counts_in(report)[1:]) == (0, ("0", "0")), done.stderr


@pytest.mark.parametrize("flags", [("--junit",), ("--runs", "2", "--write-ignore")])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_sent(
    stranger: Operator, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    said = asked(tmp_path / "said.jsonl", "first")
    nowhere = ("replay", str(said), "--to", "ws://127.0.0.1:1/ws", *flags)
    for path in (tmp_path / "none" / "x", tmp_path):
        done = stranger.types(*nowhere, str(path))
        assert done.returncode == 12, done.stderr
        assert f"Cannot write {path}" in done.stderr
