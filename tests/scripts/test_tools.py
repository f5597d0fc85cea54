"""Have tools run there, and let MegaBot have programs run here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.scripts.test_relay_and_recordings import start_relay
from tests.support.processes import Processes

ASKS_FOR_A_TOOL = """
rules:
  - name: weighing
    match: {type: chat_send, text: weigh}
    steps:
      - tool_call: {tool: weigh, parameters: {what: feather}, timeout_s: 20}
      - reply: "It is ${tool.status}: ${tool.result}${tool.output}"
"""


def test_a_tool_runs_there_and_its_result_is_on_stdout(ann: Operator) -> None:
    done = ann.types("tool", "echo", "--param", "text=hello", "--param", "n=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"text": "hello", "n": 3}
    whole = json.loads(ann.types("tool", "echo", "--params", '{"a":[1]}', "--json").stdout)
    assert (whole["status"], whole["result"]) == ("completed", {"a": [1]})
    some = ann.types("tool", "echo", "--param", "n=3", "--fields", "status,result.n")
    assert (some.returncode, some.stdout) == (0, "completed\t3\n")
    text = ann.types("tool", "echo", "--param", "n=3", "--template", "{result.n} times")
    assert (text.returncode, text.stdout) == (0, "3 times\n")
    wrong = ann.types("tool", "echo", "--param", "n=3", "--fields", "statos")
    assert wrong.returncode == 2
    assert "status" in wrong.stderr


def test_a_tool_that_fails_ends_with_13_and_says_why(ann: Operator) -> None:
    done = ann.types("tool", "nope")
    assert (done.returncode, done.stdout) == (13, "")
    assert "There is no tool nope" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("tool", "sleep", "--param", "seconds=5", "--timeout", "300ms"), 3),
        (("tool", "echo", "--param", "nothing"), 2),
        (("tool", "echo", "--params", "[1]"), 11),
        (("send", "hi", "--tool", "weigh"), 2),
        (("send", "hi", "--tool", "weigh=echo 'open"), 2),
        (("send", "hi", "--tool", "weigh=no-such-program 1"), 9),
        (("send", "hi", "--attach", "no-such-file"), 9),
        (("send", "hi", "--until", "type =="), 2),
        (("send", "hi", "--until", "true", "--no-wait"), 2),
    ],
)
def test_wrong_use_is_told(ann: Operator, arguments: tuple[str, ...], code: int) -> None:
    done = ann.types(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error:")


@pytest.fixture
def asked(processes: Processes, tmp_path: Path) -> Operator:
    """Somebody at an upstream that wants a feather weighed."""
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(ASKS_FOR_A_TOOL)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    ann = Operator(home, start_gateway(processes, "--listen", ":0", "--scenario", str(scenario)))
    ann.logs_in()
    return ann


def program(folder: Path, text: str) -> str:
    file = folder / "program.py"
    file.write_text(text)
    return f"weigh={sys.executable} {file}"


WEIGHS = "import json, sys; print(json.dumps(f\"{json.load(sys.stdin)['what']}: 1 g\"))"


def test_megabot_may_have_a_named_program_run(asked: Operator, tmp_path: Path) -> None:
    done = asked.types("send", "weigh it", "--tool", program(tmp_path, WEIGHS))
    assert "completed: feather: 1 g" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit('too light')", "ended with 1: too light"),
        ("print('x' * 600_000)", "wrote more than 512 KiB"),
    ],
)
def test_a_program_that_fails_is_a_failed_call(
    asked: Operator, tmp_path: Path, text: str, said: str
) -> None:
    done = asked.types("send", "weigh it", "--tool", program(tmp_path, text))
    assert done.stdout.startswith("It is failed"), "only the answer goes to stdout"
    assert said in done.stdout
    (warned,) = [line for line in done.stderr.splitlines() if "tool.failed" in line]
    assert warned.startswith("warning: tool.failed: tool weigh, ")


def test_silence_ends_the_wait_and_what_comes_begins_it_anew(asked: Operator) -> None:
    done = asked.types("send", "weigh it", "--idle-timeout", "500ms")
    assert done.returncode == 3
    assert "Nothing came for 0.5 s" in done.stderr


def test_a_file_goes_along(ann: Operator, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("hello")
    done = ann.types("send", "look", "--attach", str(file), "--dry-run")
    (attachment,) = json.loads(done.stdout)["payload"]["attachments"]
    assert attachment == {
        "name": "note.txt", "media_type": "text/plain", "size": 5, "data": "aGVsbG8=",
    }  # fmt: skip
    assert "[attached: note.txt]" in ann.types("send", "look", "--attach", str(file)).stdout
    with file.open("wb") as large:
        large.truncate(2**30)
    done = ann.types("send", "look", "--attach", str(file))
    assert (done.returncode, "too large" in done.stderr) == (11, True)


def test_a_condition_ends_the_wait(ann: Operator) -> None:
    done = ann.types("send", "hi", "--until", "payload.is_complete == true", "--json")
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["payload"]["is_complete"] is True


def test_a_recorded_session_with_tool_calls_replays_twice_with_the_same_verdict(
    asked: Operator, processes: Processes, tmp_path: Path
) -> None:
    weigh = program(tmp_path, WEIGHS)
    relay = start_relay(processes, asked)
    relay.ready()
    assert "feather: 1 g" in asked.types("send", "weigh it", "--tool", weigh).stdout
    assert asked.types("tool", "time").returncode == 0
    assert relay.stop() == 0
    verdicts = []
    for _ in range(2):
        done = asked.types("replay", "last", "--allow-tools", "--expect", "shape", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        facts = json.loads(done.stdout)
        verdicts.append([facts[name] for name in ("same", "same_shape", "different", "missing")])
    assert verdicts[0] == verdicts[1]
    assert verdicts[0][2:] == [0, 0]
    assert sum(verdicts[0]) >= 2
