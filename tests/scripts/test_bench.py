"""Measure what a path carries."""

from __future__ import annotations

import json
import signal

from tests.scripts.conftest import Operator, start_gateway
from tests.scripts.test_terminal import ended, on_a_terminal
from tests.support.processes import Processes

REFUSES = """
rules:
  - name: refuse
    match: {type: chat_send, every: 3}
    steps: [{error: 429}]
"""


def test_a_path_is_measured_and_told_in_figures(ann: Operator) -> None:
    done = ann.types("bench", "--duration", "1s", "--clients", "2", "--listeners", "3", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["answers"] >= 2
    assert facts["failed"] == {}
    assert 0 < facts["first_chunk_ms"]["p50"] <= facts["total_ms"]["p50"]
    assert facts["total_ms"]["p50"] <= facts["total_ms"]["p99"] <= facts["total_ms"]["max"]
    assert facts["fan_out"]["listeners"] == 3
    assert facts["fan_out"]["messages"] >= 3


def test_the_rate_that_was_asked_for_is_kept(ann: Operator) -> None:
    done = ann.types("bench", "--duration", "4s", "--clients", "2", "--rate", "2/s", "--json")
    assert done.returncode == 0, done.stderr
    assert 6 <= json.loads(done.stdout)["answers"] <= 9


def test_refusals_are_counted_and_end_with_14(stranger: Operator, processes: Processes) -> None:
    scenario = stranger.home / "scenario.yaml"
    scenario.write_text(REFUSES)
    refusing = start_gateway(processes, "--listen", ":0", "--scenario", str(scenario))
    ann = Operator(stranger.home, refusing)
    ann.logs_in()
    done = ann.types("bench", "--duration", "2s", "--clients", "1", "--no-rate-limit", "--json")
    assert done.returncode == 14, done.stderr
    assert json.loads(done.stdout)["failed"]["rate_limited"] >= 1
    assert "--rate asks for less" in done.stderr


def test_what_cannot_be_sent_is_told_once(ann: Operator) -> None:
    done = ann.types("bench", "--duration", "5s", "--message", "x" * 10_001)
    assert done.returncode == 11
    assert done.stderr.count("error:") == 1


def test_another_machine_is_not_loaded_unasked(ann: Operator) -> None:
    for there in (("wss://megabot.example/ws",), ("--url", "wss://megabot.example/ws")):
        done = ann.types("bench", *there, "--duration", "1s")
        assert done.returncode == 2
        assert "--yes" in done.stderr


def test_ctrl_c_shows_what_there_is(stranger: Operator, processes: Processes) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    with on_a_terminal(ann, "bench", "--duration", "60s", "--rate", "20/s") as child:
        child.expect("bench  ")
        child.expect(r"[1-9]\d*/s")
        child.kill(signal.SIGINT)
        shown, code = ended(child)
        assert code == 130
        assert "this is what there is" in shown
        assert "whole answer p50" in shown
        assert "█" in shown
