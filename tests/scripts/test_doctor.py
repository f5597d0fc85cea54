"""`megabot doctor` as it is typed, against real programs."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pexpect

from tests.scripts.conftest import PASSWORD, Operator
from tests.support.processes import Processes, megabot

LOGIN = ("login", "--username", "ann", "--password-stdin", "--storage", "file")


def test_where_all_is_well_it_says_so_and_ends_with_0(ann: Operator) -> None:
    done = ann.types("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "Nothing is broken.\n"
    lines = [line.split()[:2] for line in done.stdout.splitlines()]
    assert [check for _, check in lines][:3] == ["configuration", "permissions", "disk"]
    assert {verdict for verdict, _ in lines} == {"ok"}
    assert len(lines) == 17


def test_the_json_form_has_stable_keys(ann: Operator) -> None:
    done = ann.types("doctor", "--json")
    facts = json.loads(done.stdout)
    assert list(facts) == [
        "version", "ok", "exit", "megabot", "python", "platform", "profile", "url", "counts",
        "checks",
    ]  # fmt: skip
    assert facts["ok"] is True
    assert {tuple(each) for each in facts["checks"]} == {
        ("check", "verdict", "message", "fix", "exit", "took_s", "facts")
    }
    lines = ann.types("doctor", "--jsonl").stdout.splitlines()
    assert [json.loads(line)["check"] for line in lines] == [
        each["check"] for each in facts["checks"]
    ]


def test_without_an_upstream_7_and_the_rest_is_looked_at(ann: Operator) -> None:
    done = ann.types("doctor", "--json", "--url", "ws://127.0.0.1:9/ws")
    assert done.returncode == 7
    facts = json.loads(done.stdout)
    assert (facts["ok"], facts["exit"]) == (False, 7)
    error = json.loads(done.stderr)["error"]
    assert (error["exit"], error["code"]) == (7, "could_not_connect")
    assert error["message"].startswith("2 of 17 checks failed (tcp, login): Port 9 cannot be rea")


def test_without_a_credential_4(stranger: Operator) -> None:
    done = stranger.types("doctor")
    assert done.returncode == 4
    assert re.search("fail +login ", done.stdout)
    assert re.search("ok +clock ", done.stdout)
    assert "hint: `megabot login`" in done.stderr


def test_a_broken_file_is_12_with_all_that_is_wrong_in_it(stranger: Operator) -> None:
    (stranger.home / "config.yaml").write_text("relay:\n  lisen: x\n  max_clients: 0\n")
    done = stranger.types("doctor", "--json")
    assert done.returncode == 12
    configuration, *others = json.loads(done.stdout)["checks"]
    told = [each["message"] for each in configuration["facts"]["problems"]]
    assert "config.yaml:2: there is no setting 'relay.lisen'" in told[0]
    assert "config.yaml:3: relay.max_clients cannot be 0" in told[1]
    assert [each["verdict"] for each in others][:3] == ["ok"] * 3


def test_a_setting_that_is_no_use_does_not_keep_the_upstream_from_being_looked_at(
    ann: Operator,
) -> None:
    done = ann.types("doctor", "--json", env={"MEGABOT_RELAY_LISTEN": "nowhere"})
    assert done.returncode == 12
    found = {each["check"]: each["verdict"] for each in json.loads(done.stdout)["checks"]}
    assert (found["configuration"], found["socket"]) == ("fail", "ok")


def test_it_works_without_a_home(ann: Operator) -> None:
    """As in a container with an unknown user."""
    environment = ann.environment()
    for name in ("HOME", "MEGABOT_HOME", "USER", "LOGNAME"):
        environment.pop(name, None)
    done = subprocess.run(
        megabot("doctor"), env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_relay_that_runs_is_asked_and_one_that_stands_still_is_told(
    ann: Operator, stranger: Operator, processes: Processes
) -> None:
    import os
    import signal

    stranger.types(*LOGIN, typed=PASSWORD)
    listen = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    relay = processes.start(
        "relay", megabot("relay", *listen), env=stranger.environment(), typed=""
    )
    relay.ready()
    done = stranger.types("doctor", "--json")
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert found["relay"]["verdict"] == "ok", found["relay"]
    assert found["relay"]["facts"]["ready"] is True
    os.kill(relay.pid, signal.SIGSTOP)
    done = stranger.types("doctor", "--json")
    os.kill(relay.pid, signal.SIGCONT)
    assert done.returncode == 7
    assert "does not answer" in json.loads(done.stderr)["error"]["message"]


def test_the_report_is_for_others_and_holds_no_secret(ann: Operator, tmp_path: Path) -> None:
    token = ann.types("token").stdout.strip()
    for name in ("report.md", "report.json"):
        file = tmp_path / name
        assert ann.types("doctor", "--report", str(file)).returncode == 0
        text = file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert token not in text
        assert str(ann.home) not in text
        assert not re.search(r"\bann\b", text)
        assert "MEGABOT_URL" in text
    assert json.loads(text)["checks"]
    done = ann.types("doctor", "--report", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert "is there already" in done.stderr
    assert ann.types("doctor", "--report", str(tmp_path / "no" / "x.md")).returncode == 2


def test_a_terminal_shows_each_line_in_colour_and_within_its_width(ann: Operator) -> None:
    environment = ann.environment({"COLUMNS": "70"})
    del environment["NO_COLOR"]
    line = [sys.executable, "-m", "megabot_cli", "doctor", "--url", "ws://127.0.0.1:9/ws"]
    child = pexpect.spawn(
        line[0], line[1:], env={**environment, "TERM": "xterm"}, dimensions=(40, 70), timeout=20
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 7
    shown = child.before.decode()
    assert "\x1b[32mok" in shown
    assert "\x1b[31mfail" in shown
    rows = [re.sub(r"\x1b\[[0-9;]*[mK]", "", row) for row in shown.replace("\r", "\n").split("\n")]
    assert max(len(row) for row in rows if row.startswith(("ok", "fail", " "))) <= 70


def test_ctrl_c_ends_it_while_an_upstream_says_nothing(ann: Operator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"wss://127.0.0.1:{silent.getsockname()[1]}/ws"
        environment = {**ann.environment(), "TERM": "xterm"}
        child = pexpect.spawn(
            sys.executable, ["-m", "megabot_cli", "doctor", "--url", url],
            env=environment, dimensions=(40, 100), timeout=20,
        )  # fmt: skip
        child.expect("its certificate")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 130
    assert b"Traceback" not in child.before
