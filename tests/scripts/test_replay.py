"""A replay as an operator asks for it, and what it leaves behind."""

from __future__ import annotations

import json
import re
import signal
import socket
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.support.processes import Processes, megabot, wait_until

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


def test_junit_has_a_name_for_each_round_of_each_answer(ann: Operator, tmp_path: Path) -> None:
    said, report = asked(tmp_path / "said.jsonl", "first", "second"), tmp_path / "report.xml"
    line = ("replay", str(said), *LEAST, "--expect", "none", "--junit", str(report))
    assert ann.types(*line).returncode == 0
    alone = re.findall('name="(record [^"]+)"', report.read_text())
    assert ann.types(*line, "--runs", "3").returncode == 0
    names = re.findall('name="(record [^"]+)"', report.read_text())
    assert names == [*alone, *(f"{name}, round {n}" for n in (2, 3) for name in alone)]


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


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--pace", "fast", "--max-lateness", "1ms"), "--max-lateness would always hold"),
        (("--pace", "reply", "--assert", "lateness_ms.max < 1"), "--assert lateness_ms would"),
        (("--pace", "step", "--max-lateness", "1ms"), "--max-lateness would always hold"),
        (("--pace", "fixed:10/s", "--speed", "2"), "--speed is about the recorded times"),
        (("--pace", "fast", "--max-gap", "1s"), "--max-gap is about the recorded times"),
        (("--runs", "3", "--loop", "2"), "--runs and --loop"),
        (("--direction", "to_client"), "--to clients"),
        (("--pace", "stpe"), "'stpe' is none of original, fast, reply, step, fixed:10/s\n"),
        (("--pace", "stpe"), "Did you mean 'step'?"),
        (("--pace", "fixed"), "Did you mean 'fixed:10/s'?"),
        (("--pace", "FIXD:5/s"), "Did you mean 'fixed:5/s'?"),
        (("--ignore", "", "--dry-run"), "'' is no path"),
        (("--ignore", "payload..seed", "--dry-run"), "'payload..seed' is no path"),
    ],
)
def test_2_for_what_would_do_nothing(stranger: Operator, more: tuple[str, ...], told: str) -> None:
    done = stranger.types("replay", str(SEALED), "--to", "ws://127.0.0.1:1/ws", *more)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr


def test_a_path_that_leaves_out_nothing_is_told(stranger: Operator, tmp_path: Path) -> None:
    listed = tmp_path / "vary.txt"
    listed.write_text("seed\npayload.seed\n*.seed\n")
    done = stranger.types("replay", str(SEALED), "--dry-run", "--ignore-file", str(listed))
    assert done.returncode == 0
    assert done.stderr.count("leaves out nothing") == 1
    assert "--ignore seed leaves out nothing" in done.stderr


def test_a_dry_run_counts_every_round(stranger: Operator) -> None:
    line = ("replay", str(SEALED), "--dry-run", "--direction", "to_upstream")
    once = json.loads(stranger.types(*line, "--json").stdout)
    thrice = stranger.types(*line, "--loop", "3")
    assert f"rounds       3, {3 * once['messages']} messages in all" in thrice.stdout
    assert f"takes        {3 * once['duration_s']:.1f} s" in thrice.stdout
    for_ever = stranger.types(*line, "--loop", "0")
    assert "rounds       without end" in for_ever.stdout
    assert once["rounds"] == 1
    assert json.loads(stranger.types(*line, "--runs", "2", "--json").stdout)["rounds"] == 2


def test_a_dry_run_to_clients_says_what_would_be_answered(stranger: Operator) -> None:
    line = ("replay", str(SEALED), "--to", "clients", "--dry-run", "--listen", "127.0.0.1:4711")
    done = stranger.types(*line)
    assert done.returncode == 0, done.stderr
    assert "clients that come to 127.0.0.1:4711" in done.stdout
    assert "would answer" in done.stdout
    facts = json.loads(stranger.types(*line, "--json").stdout)
    assert (facts["to"], facts["listen"]) == ("clients", "127.0.0.1:4711")
    assert facts["requests"] >= facts["sessions"] >= 1


def test_why_nothing_is_sent_is_told(stranger: Operator, tmp_path: Path) -> None:
    nowhere = ("--to", "ws://127.0.0.1:1/ws")
    done = stranger.types("replay", str(SEALED), *nowhere, "--from", "nomark")
    assert (done.returncode, done.stdout) == (9, "")
    assert "there is no mark 'nomark' in it" in done.stderr
    bare = tmp_path / "bare.jsonl"
    made = stranger.types("rec", "sanitize", str(SEALED), str(bare), "--drop-payload")
    assert made.returncode == 0, made.stderr
    done = stranger.types("replay", str(bare), *nowhere)
    assert done.returncode == 9
    assert "were left out" in done.stderr


def test_two_recordings_of_which_nothing_is_compared_are_not_the_same(
    stranger: Operator, tmp_path: Path
) -> None:
    done = stranger.types("rec", "diff", str(SEALED), str(SEALED), "--type", "nosuch")
    assert (done.returncode, done.stdout) == (9, "")
    assert "no request to compare" in done.stderr
    assert "Choose less narrowly" in done.stderr
    silent = asked(tmp_path / "silent.jsonl")
    silent.write_text('{"id":"n","type":"notification","payload":{}}\n')
    done = stranger.types("rec", "diff", str(silent), str(silent))
    assert (done.returncode, done.stdout) == (9, "")
    assert "narrowly" not in done.stderr  # nobody has chosen anything


def test_what_was_recorded_nowhere_is_not_said_to_be_recorded_at_nothing(
    stranger: Operator, tmp_path: Path
) -> None:
    done = stranger.types("replay", str(asked(tmp_path / "said.jsonl", "hi")), "--dry-run")
    assert "recorded at" not in done.stdout
    assert "recorded at" in stranger.types("replay", str(SEALED), "--dry-run").stdout


def test_what_was_interrupted_is_told_as_stopped(
    ann: Operator, processes: Processes, tmp_path: Path
) -> None:
    said = asked(tmp_path / "said.jsonl", "first", "second")
    control = tmp_path / "c"
    command = megabot("replay", str(said), "--loop", "0", "--control", str(control), "--json")
    running = processes.start("replay", command, env=ann.environment())

    def has_sent() -> bool:
        if not control.exists():
            return False
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(str(control))
            except ConnectionRefusedError:  # it has a name a moment before it listens
                return False
            asking.sendall(b"status\n")
            return bool(json.loads(asking.recv(4096)).get("sent"))

    wait_until(has_sent, "the first message")
    running.signal(signal.SIGINT)
    assert running.wait() == 130
    report = json.loads(running.output)
    assert (report["stopped"], report["sent"] > 0) == (True, True)
