"""Talking, in a pipe and on a terminal."""

from __future__ import annotations

import stat
from pathlib import Path

import pexpect

from tests.scripts.conftest import (
    PASSWORD,
    Operator,
    at_a_gateway_of_her_own,
    start_gateway,
)
from tests.scripts.test_send_waits import GOES_ON, at_scenario
from tests.scripts.test_terminal import echoes, ended, on_a_terminal
from tests.support.processes import Processes, megabot

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


def test_a_new_session_may_be_asked_for_by_name_and_not_with_another(ann: Operator) -> None:
    done = ann.types("chat", "--new", typed="hi\n")
    assert (done.returncode, done.stderr) == (0, "")
    refused = ann.types("chat", "--new", "--session", "sess_1", typed="hi\n")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--new and --session exclude each other" in refused.stderr


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


def test_one_ctrl_c_stops_an_answer_and_two_leave(stranger: Operator, processes: Processes) -> None:
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
        child.send("not this")
        child.expect("not this")
        child.sendintr()  # throws the line away, no more
        child.expect(PROMPT)
        child.sendintr()
        child.expect("Ctrl-C again, or Ctrl-D, ends")
        child.expect(PROMPT)
        child.send("tell me 3 words\r")
        child.expect(r"[a-z]\.\r\n")
        child.expect(PROMPT)
        child.sendeof()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
    with on_a_terminal(operator, "chat", PROMPT_TOOLKIT_NO_CPR="1") as child:
        child.expect(PROMPT)
        child.send("tell me 500 words\r")
        child.expect(r"[A-Z]\w* \w+ ")
        child.sendintr()
        child.expect("stopped; what came is above; Ctrl-C again ends")
        child.expect(PROMPT)
        child.sendintr()
        shown, code = ended(child)
        assert code == 130
        assert "megabot chat --session sess_" in shown
        assert echoes(child)


def test_what_begins_with_a_slash_is_for_the_chat_itself(ann: Operator, tmp_path: Path) -> None:
    saved, others = tmp_path / "talk.md", tmp_path / "others.md"
    others.touch()
    with on_a_terminal(ann, "chat", PROMPT_TOOLKIT_NO_CPR="1") as child:
        child.expect(PROMPT)
        child.send("/json\r")
        child.expect("Nothing has been answered yet")
        child.expect(PROMPT)
        child.send(f"/save {saved}\r")
        child.expect("Nothing has been said yet")
        child.expect(PROMPT)
        assert not saved.exists()
        child.send("hi\r")
        child.expect("You said “hi”")
        child.expect(PROMPT)
        child.send("/session\r")
        child.expect(r"session (sess_\w+)")
        first = child.match[1]
        child.expect(PROMPT)
        child.send("/session sess_none\r")
        child.expect("There is no session 'sess_none'")
        child.expect(PROMPT)
        child.send("/session\r")
        child.expect(rf"session {first}")
        child.expect(PROMPT)
        child.send("/session new\r")
        child.expect(r"session (sess_\w+)")
        assert child.match[1] != first
        child.expect(PROMPT)
        child.send("//usr is a folder\r")
        child.expect("You said “/usr is a folder”")
        child.expect(PROMPT)
        child.send("/json\r")
        child.expect('"type":"chat_stream"')
        child.expect(PROMPT)
        child.send("/qiut\r")
        child.expect("Did you mean /quit")
        child.expect(PROMPT)
        for _ in range(2):
            child.send(f"/save {saved}\r")
            child.expect("2 questions with what was answered")
            child.expect(PROMPT)
        child.send(f"/save {others}\r")
        child.expect("is there already")
        child.expect(PROMPT)
        child.send("/quit\r")
        _, code = ended(child)
        assert code == 0
    text = saved.read_text()
    assert text.count("> hi") == 1
    assert text.startswith("> hi\n\nYou said “hi” to me")
    assert "> /usr is a folder\n" in text


MARKDOWN = """
rules:
  - name: markdown
    match: {type: chat_send}
    steps:
      - status: {status: thinking, message: for a while, progress: 0.4}
      - delay_s: 0.5
      - stream: {text: "# Title\\n- **one**\\n", pace_s: 0.01}
"""


def test_an_answer_is_laid_out_as_it_comes_and_what_goes_on_is_told(
    processes: Processes, tmp_path: Path
) -> None:
    scenario, home = tmp_path / "scenario.yaml", tmp_path / "home"
    scenario.write_text(MARKDOWN)
    home.mkdir(mode=0o700)
    ann = Operator(home, start_gateway(processes, "--listen", ":0", "--scenario", str(scenario)))
    ann.logs_in()
    with on_a_terminal(ann, "chat", "--color", "always", PROMPT_TOOLKIT_NO_CPR="1") as child:
        child.expect(PROMPT)
        child.send("hi\r")
        child.expect("thinking  for a while  40%")
        child.expect(r"\x1b\[1mTitle\x1b\[0m\r\n• \x1b\[0m\x1b\[1mone\x1b\[0m")
        child.expect(PROMPT)
        child.sendeof()
        _, code = ended(child)
        assert code == 0
    assert ann.types("chat", typed="hi\n").stdout == "# Title\n- **one**\n"


def test_that_the_relay_s_upstream_is_away_is_told_to_who_asks_then(
    stranger: Operator, processes: Processes
) -> None:
    ann, gateway = at_a_gateway_of_her_own(stranger, processes)
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    relay = processes.start("relay", command, env=ann.environment(), typed="")
    relay.ready()
    with on_a_terminal(ann, "chat", PROMPT_TOOLKIT_NO_CPR="1") as child:
        child.expect(PROMPT)
        gateway.stop()
        relay.wait_for_line("link.lost")
        child.send("are you there\r")
        child.expect("reconnecting  the upstream is away: ")


def test_who_waits_for_the_rest_when_the_line_is_up_again_is_told_how_to_stop(
    processes: Processes, tmp_path: Path
) -> None:
    own = at_scenario(processes, tmp_path, GOES_ON)
    with on_a_terminal(own, "chat", PROMPT_TOOLKIT_NO_CPR="1") as child:
        child.expect(PROMPT)
        child.send("hi\r")
        child.expect("connected again; waiting for the rest, Ctrl-C stops that")
        child.sendcontrol("c")
        child.expect("stopped; what came is above")
        child.expect(PROMPT)
        child.sendcontrol("d")
        assert ended(child)[1] == 0
