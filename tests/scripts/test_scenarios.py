"""Scenarios, as an operator starts, checks and meets them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.scripts.conftest import PASSWORD, Operator
from tests.support.processes import Processes


def test_a_check_prints_what_a_scenario_would_do(stranger: Operator) -> None:
    done = stranger.types("gateway", "--check-scenario", "flaky-network")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "sending: type chat_stream, 0.01 of the times  (the line breaks)\n    abort\n"
        in done.stdout
    )
    as_json = stranger.types("gateway", "--check-scenario", "happy", "-o", "json")
    assert [rule["name"] for rule in json.loads(as_json.stdout)["rules"]] == [
        "hello", "status", "thanks",
    ]  # fmt: skip


def test_a_wrong_file_is_told_by_line_and_nothing_is_served(
    stranger: Operator, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("rules:\n  - steps:\n      - replay: hi\n")
    for option in ("--check-scenario", "--scenario"):
        done = stranger.types("gateway", "--listen", ":0", option, str(wrong))
        assert done.returncode == 12
        assert done.stdout == ""
        assert f"{wrong}:3: rules[0].steps[0].replay: there is no word 'replay'" in done.stderr
        assert "Did you mean 'reply'?" in done.stderr


def test_send_meets_the_answers_and_faults_of_a_scenario(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "seed: 1\nrules:\n"
        "  - {match: {text: hello}, steps: [{stream: 'Hello ${user}!'}]}\n"
        "  - {match: {text: limit}, steps: [rate_limit]}\n"
        "  - {match: {text: cut}, steps: [pass, abort]}\n"
    )
    url = processes.megabot(
        "gateway", "--listen", ":0", "--scenario", str(file),
        "--username", "ann", "--password-stdin",
        typed=PASSWORD,
    ).ready()["url"]  # fmt: skip
    ann = Operator(stranger.home, url)
    ann.logs_in()
    assert ann.types("send", "hello").stdout == "Hello ann!\n"
    assert ann.types("send", "limit").returncode == 10
    assert ann.types("send", "cut").stdout.startswith("You said “cut”")


def test_a_bad_change_is_told_in_the_log_and_the_old_one_stays(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\nrules: [{steps: [{reply: first}]}]\n")
    gateway = processes.megabot("gateway", "--listen", ":0", "--scenario", str(file))
    gateway.ready()
    file.write_text("seed: 1\nrules: [{steps: [{repyl: second}]}]\n")
    told = gateway.wait_for_line("scenario.refused")
    assert "repyl" in told
    file.write_text("seed: 77\nrules: [{steps: [{reply: third}]}]\n")
    assert (
        "77"
        in gateway.wait_for(
            "the new seed in the log",
            lambda: [line for line in gateway.error_lines if "77" in line],
        )[0]
    )
    assert gateway.stop() == 0
