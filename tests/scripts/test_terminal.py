"""The program on a real terminal: prompts, colour, Ctrl-C."""

from __future__ import annotations

import json
import re
import shutil
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.scripts.conftest import PASSWORD, Operator
from tests.support.ports import kept_port
from tests.support.processes import wait_until


@contextmanager
def on_a_terminal(operator: Operator, *arguments: str, **env: str) -> Iterator[Any]:
    """The command with a terminal of 24 × 80 for stdin, stdout and stderr."""
    environ = operator.environment({"TERM": "xterm", "NO_COLOR": "", "COLUMNS": "", **env})
    child = pexpect.spawn(
        sys.executable,
        ["-m", "megabot_cli", *arguments],
        env=environ,
        encoding="utf-8",
        timeout=15,
        dimensions=(24, 80),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def ended(child: Any) -> tuple[str, int]:
    """What was shown until the end, and the exit code."""
    child.expect(pexpect.EOF)
    child.wait()
    return str(child.before), int(child.exitstatus)


def echoes(child: Any) -> bool:
    return bool(termios.tcgetattr(child.child_fd)[3] & termios.ECHO)


def test_login_asks_for_what_is_missing_and_hides_the_password(stranger: Operator) -> None:
    with on_a_terminal(stranger, "login", "--storage", "file") as child:
        child.expect("To log in at ws://127.0.0.1:[0-9]+/ws, as profile 'default'")
        child.expect("User name: ")
        child.sendline("ann")
        child.expect("Password of ann: ")
        child.sendline(PASSWORD)
        shown, code = ended(child)
        assert PASSWORD not in shown
        assert "Logged in as ann" in shown
        assert code == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("login --username ann --password-stdin --storage file", 0),
        ("login --api-key-stdin", 4),
        ("gateway --listen :0 --username bea --password-stdin -- true", 0),
        ("gateway users add bea --password-stdin --data nowhere", 9),
    ],
)
def test_a_secret_for_stdin_is_asked_for_hidden_where_stdin_is_a_terminal(
    stranger: Operator, line: str, code: int
) -> None:
    with on_a_terminal(stranger, *line.split()) as child:
        child.expect("API key: " if "--api-key-stdin" in line else "Password of [a-z]+: ")
        assert not echoes(child)
        child.sendline(PASSWORD)
        shown, ended_with = ended(child)
        assert PASSWORD not in shown
        assert ended_with == code
    with on_a_terminal(stranger, "--no-input", *line.split()) as child:
        shown, ended_with = ended(child)
        assert "found a terminal on stdin" in shown
        assert ended_with == 2


def test_ctrl_c_at_the_prompt_leaves_the_terminal_as_it_was(stranger: Operator) -> None:
    with on_a_terminal(stranger, "login", "--username", "ann") as child:
        child.expect("Password of ann: ")
        assert not echoes(child)
        child.sendintr()
        shown, code = ended(child)
        assert shown.startswith("\r\n")
        assert echoes(child)
        assert code == 130


def test_an_ended_input_at_a_prompt_is_wrong_usage(stranger: Operator) -> None:
    with on_a_terminal(stranger, "login") as child:
        child.expect("User name: ")
        child.sendeof()
        shown, code = ended(child)
        assert "There was no answer" in shown
        assert code == 2


def test_no_input_never_asks_even_on_a_terminal(stranger: Operator) -> None:
    with on_a_terminal(stranger, "login", "--no-input") as child:
        shown, code = ended(child)
        assert "--username" in shown
        assert code == 2


@pytest.mark.parametrize(
    ("env", "arguments", "colourful"),
    [
        ({}, (), True),
        ({"NO_COLOR": "1"}, (), False),
        ({"TERM": "dumb"}, (), False),
    ],
)
def test_a_terminal_gets_colour_unless_it_is_not_wanted(
    ann: Operator, env: dict[str, str], arguments: tuple[str, ...], colourful: bool
) -> None:
    with on_a_terminal(ann, "config", "show", "relay.mode", *arguments, **env) as child:
        shown, _ = ended(child)
    assert ("\x1b[1m" in shown) is colourful


def test_a_terminal_that_can_only_go_on_gets_nothing_else(ann: Operator) -> None:
    with on_a_terminal(ann, "doctor", TERM="dumb", FORCE_COLOR="") as child:
        shown, _ = ended(child)
    assert "Nothing is broken" in shown
    assert "\x1b" not in shown
    assert re.search(r"\r(?!\n)", shown) is None


def test_lines_are_cut_to_the_width_of_the_terminal(ann: Operator) -> None:
    with on_a_terminal(ann, "tail", NO_COLOR="1") as child:
        child.expect("connection_established.*\r\n")
        line = str(child.after).rstrip("\r\n")
        child.sendintr()
        _, code = ended(child)
    assert len(re.sub(r".*\n", "", str(line))) <= 80
    assert line.endswith("…")
    assert code == 130


@pytest.mark.alone
def test_ctrl_c_ends_a_wait_within_a_second(ann: Operator) -> None:
    with on_a_terminal(ann, "send", "hi", "--wait", "type:notification", "-v") as child:
        child.expect("open: session")
        child.sendintr()
        child.expect(pexpect.EOF, timeout=2)
        child.wait()
        assert child.exitstatus == 130
        assert "Traceback" not in str(child.before)


def test_a_batch_shows_a_bar_that_is_gone_at_the_end(ann: Operator) -> None:
    line = "printf 'one\\ntwo\\n' | $PYTHON -m megabot_cli send --jsonl - > $MEGABOT_HOME/out"
    environ = ann.environment({"TERM": "xterm", "PYTHON": sys.executable})
    child: Any = pexpect.spawn("bash", ["-c", line], env=environ, encoding="utf-8", timeout=15)
    shown, code = ended(child)
    child.close(force=True)
    assert code == 0
    assert "send  1" in shown
    assert shown.endswith("\r\x1b[K")


def test_a_replay_is_steered_by_keys_and_leaves_the_terminal_as_it_was(
    ann: Operator, tmp_path: Path
) -> None:
    said = {"id": "m1", "type": "chat_send", "payload": {"content": "hi"}, "timestamp": 1640995200}
    bare, control = tmp_path / "said.jsonl", tmp_path / "control"
    bare.write_text(json.dumps(said) + "\n")
    more = ("--expect", "none", "--to", ann.url, "--control", str(control))
    arguments = ("replay", str(bare), "--pace", "step", *more)
    with on_a_terminal(ann, *arguments) as child:
        child.expect("space pauses")
        wait_until(lambda: not echoes(child), "keys are read one by one")
        # Nothing is sent and nothing comes: what a key did is shown all the same.
        for key, shows in (
            ("+", r"replies, 2 ×"),
            ("-", r"paused, \d replies, \d out"),
            ("-", "0.5 ×"),
        ):
            child.send(key)
            child.expect(shows)
        child.send(".")
        child.expect("sent       1 message as")
        shown, code = ended(child)
        assert code == 0, shown
    with on_a_terminal(ann, *arguments) as child:
        child.expect("space pauses")
        wait_until(lambda: not echoes(child), "keys are read one by one")
        assert control.is_socket()
        child.sendintr()
        child.expect("interrupted")
        child.expect("sent       0 messages")
        wait_until(lambda: echoes(child), "the terminal is as it was")
        assert not control.exists()
        _, code = ended(child)
        assert code == 130


def test_a_long_recording_is_paged_and_a_short_one_is_not(stranger: Operator) -> None:
    sealed = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"
    with on_a_terminal(stranger, "recordings", "show", str(sealed), PAGER="less") as child:
        child.expect("chat_send")
        child.expect(":")
        child.send("q")
        _, code = ended(child)
        assert code == 0
    with on_a_terminal(stranger, "recordings", "show", str(sealed), TERM="dumb") as child:
        shown, code = ended(child)
        assert (code, "\x1b" in shown) == (0, False)
    arguments = ("recordings", "show", str(sealed), "--limit", "2")
    for pager in ("less", "cat", "no-such-pager", '"'):
        with on_a_terminal(stranger, *arguments, PAGER=pager) as child:
            shown, code = ended(child)
            assert (code, shown.count("\n")) == (0, 2), shown


def test_nothing_needs_no_pager(stranger: Operator, tmp_path: Path) -> None:
    sealed = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"
    paged = tmp_path / "paged"
    for word, is_paged in (("no_such_type", False), ("chat_send", True)):
        arguments = ("recordings", "show", str(sealed), "--type", word)
        with on_a_terminal(stranger, *arguments, MEGABOT_PAGER=f"tee {paged}") as child:
            _, code = ended(child)
        assert (code, paged.exists()) == (0, is_paged)


def test_what_is_not_agreed_to_is_not_done_and_not_told_as_done(
    stranger: Operator, tmp_path: Path
) -> None:
    sealed = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"
    kept = shutil.copytree(sealed, tmp_path / "recordings" / "rec_1")
    line = ("recordings", "prune", "--keep-bytes", "0", "--json")
    env = {"MEGABOT_RECORDING_FOLDER": str(kept.parent)}
    with on_a_terminal(stranger, *line, **env) as child:
        child.expect("Remove 3 segments. ")
        child.sendline("n")
        shown, code = ended(child)
    assert code == 0
    assert '"removes": false' in shown
    assert "Nothing was removed" in shown
    assert len(list(kept.iterdir())) == 3


def test_keys_are_told_once_there_is_something_to_steer(stranger: Operator, tmp_path: Path) -> None:
    said = {"id": "m1", "type": "chat_send", "payload": {"content": "hi"}, "timestamp": 1640995200}
    bare = tmp_path / "said.jsonl"
    bare.write_text(json.dumps(said) + "\n")
    with kept_port() as port:
        to = ("--to", f"ws://127.0.0.1:{port}/ws")
        with on_a_terminal(stranger, "replay", str(bare), *to, MEGABOT_API_KEY="key") as child:
            shown, code = ended(child)
    assert code == 7, shown
    assert "space pauses" not in shown
