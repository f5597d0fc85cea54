"""Talking, in a pipe and on a terminal."""

from __future__ import annotations

import stat

import pexpect

from tests.scripts.conftest import PASSWORD, Operator, start_gateway
from tests.scripts.test_terminal import echoes, ended, on_a_terminal
from tests.support.processes import Processes

PROMPT = r">\x08?.{0,40}\x1b\[\?25h"  # the cursor is shown when a line may be typed


def test_in_a_pipe_each_line_is_said_and_only_answers_come(ann: Operator) -> None:
    done = ann.types("chat", typed="one\n\ntwo words\n")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("You said “one”")
    assert lines[1].startswith("You said “two words”")
    assert len(lines) == 2


def test_a_pipe_that_ends_at_once_says_nothing(ann: Operator) -> None:
    done = ann.types("chat", typed="")
    assert (done.returncode, done.stdout) == (0, "")


def test_without_an_upstream_it_says_so(stranger: Operator) -> None:
    done = stranger.types(
        "chat", "--url", "ws://127.0.0.1:9/ws", typed="hi\n", env={"MEGABOT_TOKEN": "x"}
    )
    assert done.returncode == 7
    assert "Traceback" not in done.stderr


def test_on_a_terminal_one_talks_edits_and_leaves_with_ctrl_d(ann: Operator) -> None:
    with on_a_terminal(ann, "chat", PROMPT_TOOLKIT_NO_CPR="1") as child:
        child.expect("Ctrl-D ends")
        child.expect(PROMPT)
        child.send("first\r")
        child.expect("You said “first”")
        child.expect(PROMPT)
        child.send("\x1b[A")  # up: what was said before
        child.expect("first")
        child.send(" again\r")
        child.expect("You said “first again”")
        child.expect(PROMPT)
        child.send("two\x1b\rlines\r")
        child.expect("to me, which is 2 words")
        child.expect(PROMPT)
        child.sendeof()
        shown, code = ended(child)
        assert code == 0
        assert "megabot chat --session sess_" in shown
        assert echoes(child)
    history = ann.home / "state" / "chat-history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+first again" in history.read_text()


def test_ctrl_c_stops_an_answer_and_not_the_talk(stranger: Operator, processes: Processes) -> None:
    slow = start_gateway(
        processes, "--listen", ":0", "--chunk-delay", "100ms", "--assistant", "markov"
    )
    operator = Operator(stranger.home, slow)
    login = ("login", "--username", "ann", "--password-stdin", "--storage", "file")

    assert operator.types(*login, typed=PASSWORD).returncode == 0
    with on_a_terminal(operator, "chat", PROMPT_TOOLKIT_NO_CPR="1") as child:
        child.expect(PROMPT)
        child.send("tell me 500 words\r")
        child.expect(r"[A-Z]\w* \w+ ")
        child.sendintr()
        child.expect("stopped")
        child.expect(PROMPT)
        child.sendintr()  # at the prompt: throws the line away, no more
        child.expect(PROMPT)
        child.send("tell me 3 words\r")
        child.expect(r"[a-z]\.\r\n")
        child.expect(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
