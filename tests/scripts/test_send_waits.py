"""What `send` says while nothing comes, and where a session is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.scripts.test_relay_and_recordings import start_relay
from tests.scripts.test_terminal import ended, on_a_terminal
from tests.support.processes import Process, Processes, wait_until


def at_scenario(processes: Processes, folder: Path, text: str) -> Operator:
    """Logged in at a gateway that plays it."""
    scenario, home = folder / "scenario.yaml", folder / "played"
    scenario.write_text(text)
    home.mkdir(mode=0o700)
    url = start_gateway(processes, "--listen", "127.0.0.1:0", "--scenario", str(scenario))
    operator = Operator(home, url)
    operator.logs_in()
    return operator


def typed_meanwhile(processes: Processes, operator: Operator, *arguments: str) -> Process:
    """A command in a pipe, that waits while others do."""
    return processes.megabot(*arguments, env=operator.environment())


@pytest.fixture
def slow(tmp_path: Path, processes: Processes) -> Operator:
    """Logged in at a gateway that takes its time."""
    home = tmp_path / "slow"
    home.mkdir(mode=0o700)
    url = start_gateway(processes, "--listen", "127.0.0.1:0", "--latency", "60s")
    operator = Operator(home, url)
    operator.logs_in()
    return operator


def test_a_person_is_told_what_is_waited_for_and_until_when(
    slow: Operator, processes: Processes
) -> None:
    piped = typed_meanwhile(processes, slow, "send", "hi", "--timeout", "4s")
    with on_a_terminal(slow, "send", "hi", "--timeout", "5s") as child:
        child.expect(r"waiting for an answer from ws://\S+ until \d\d:\d\d:\d\d")
        shown, code = ended(child)
        assert code == 3
        assert "\x1b[K" in shown  # the line is gone before the error stands there
    with on_a_terminal(slow, "send", "hi") as child:
        child.expect("without a limit")
        child.sendintr()
        assert ended(child)[1] == 130
    # In a pipe only the error is there.
    assert piped.wait() == 3
    assert piped.error_lines == [
        "error: No whole answer came within 4 s",
        "hint: --timeout sets how long to wait.",
    ]


def test_the_wait_for_a_type_or_a_condition_is_told_as_that(
    slow: Operator, processes: Processes
) -> None:
    more = ("send", "hi", "--timeout", "4s")
    typed = typed_meanwhile(processes, slow, *more, "--wait", "type:chat_stram")
    held = typed_meanwhile(processes, slow, *more, "--until", "type == 'notification'")
    assert typed.wait() == 3
    warning, error, _ = typed.error_lines
    assert "--wait type:chat_stram is none" in warning
    assert "Did you mean 'chat_stream'?" in warning
    assert error == "error: No chat_stram came within 4 s"
    assert held.wait() == 3
    assert "No message for which --until holds came within 4 s" in held.errors


MUTE = """
rules:
  - name: mute
    match: {type: tool_call}
    steps:
      - delay_s: 60
"""


def test_tool_tells_too_and_gives_way_to_how_far_it_has_come(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    slow = at_scenario(processes, tmp_path, MUTE)
    quick = Operator(stranger.home, start_gateway(processes, "--listen", "127.0.0.1:0"))
    gateway = processes.running[-1]
    quick.logs_in()
    piped = typed_meanwhile(processes, slow, "tool", "time", "--timeout", "4s")
    with (
        on_a_terminal(slow, "tool", "time", "--timeout", "5s") as child,
        on_a_terminal(quick, "tool", "sleep", "--param", "seconds=3") as at_work,
    ):
        child.expect(r"waiting for an answer from ws://\S+ until \d\d:\d\d:\d\d")
        at_work.expect("sleep  .*%")
        shown, code = ended(at_work)
        assert (code, "waiting for" in shown) == (0, False)
        shown, code = ended(child)
        assert code == 3
        assert "No whole answer came within 5 s" in shown
    assert piped.wait() == 3
    assert piped.error_lines[0] == "error: No whole answer came within 4 s"
    gateway.kill()
    with on_a_terminal(quick, "tool", "time", "--timeout", "2s") as child:
        shown, code = ended(child)
        assert code in (3, 7)


def test_through_a_relay_its_sessions_and_its_upstream_are_told(
    stranger: Operator, processes: Processes
) -> None:
    own = Operator(stranger.home, start_gateway(processes, "--listen", "127.0.0.1:0"))
    gateway = processes.running[-1]
    own.logs_in()
    relay = processes.megabot(
        "relay", "--listen", ":0", "--admin-listen", ":0", "--no-record", env=own.environment()
    )
    relay.ready()
    assert own.types("send", "hi").returncode == 0
    session = own.types("relay", "sessions", "--fields", "session").stdout.strip()
    for command in (("send", "hi"), ("tool", "time"), ("chat",)):
        named = own.types(*command, "--session", session[-8:], typed="hi\n")
        assert named.returncode == 0, named.stderr
    lost = own.types("send", "hi", "--session", "sess_none")
    assert lost.returncode == 9
    assert f"The relay has {session}. --or-new goes on in a new one." in lost.stderr
    for number in range(4):  # each begins one
        own.types("send", "hi", "--session", f"sess_none{number}", "--or-new")
    again = own.types("send", "hi", "--session", "sess_none")
    there = own.types("relay", "sessions", "--fields", "session").stdout.split()
    newest = ", ".join(reversed(there[-3:]))
    assert f"The relay has {newest} and others." in again.stderr
    gateway.kill()
    relay.wait_for_line("link.lost")
    with on_a_terminal(own, "send", "hi", "-s", session, "--timeout", "5s") as child:
        told = "the upstream is away: .*messages wait and are sent when it is back"
        child.expect(told.replace(" ", r"\s+"))  # it is broken between words
        child.expect(r"waiting until \d\d:\d\d:\d\d")
        known = typed_meanwhile(processes, own, "send", "hi", "-s", session, "--timeout", "4s")
        # A new session, which the relay has not got.
        new = typed_meanwhile(processes, own, "send", "hi", "--timeout", "2s")
        assert ended(child)[1] == 3
    assert known.wait() == 3
    assert known.errors.startswith("error: No whole answer came within 4 s: the upstream is away:")
    assert new.wait() == 3
    told, hint = new.error_lines
    assert "did not take the connection within 2 s: its upstream is away: " in told
    assert own.url.removeprefix("ws://").partition("/")[0] in told
    assert hint.startswith("hint: `megabot doctor`")


def test_asking_for_a_session_that_is_gone_leaves_no_other_at_the_relay(
    ann: Operator, processes: Processes
) -> None:
    for mode in ("session", "shared"):
        relay = start_relay(processes, ann, "--no-record", "--mode", mode)
        relay.ready()
        there = ann.types("relay", "sessions", "--fields", "session").stdout
        assert there.count("sess_") == 1
        for line in (("send", "hi"), ("send", "hi", "--no-wait"), ("chat",), ("tool", "time")):
            done = ann.types(*line, "--session", "sess_none")
            assert done.returncode == 9
            other = "The relay has no other." if mode == "shared" else f"The relay has {there}"
            assert f"hint: {other.strip()}" in done.stderr
            assert ann.types("relay", "sessions", "--fields", "session").stdout == there
        relay.stop()


def test_without_a_relay_one_session_is_made_where_another_was_asked_for(
    ann: Operator, processes: Processes
) -> None:
    """To ask for one is to connect; `--no-wait` does not do so twice."""
    url = start_gateway(processes, "--listen", ":0")
    there = Operator(processes.home, url)
    there.logs_in()
    gateway = processes.running[0]
    for line in (("send", "hi", "--no-wait"), ("send", "hi")):
        before = opened(gateway)
        assert there.types(*line, "--session", "sess_none").returncode == 9
        wait_until(lambda: opened(gateway) != before, "a connection is logged")  # noqa: B023
        assert opened(gateway) == before + 1


def opened(gateway: Process) -> int:
    return sum('"connection.opened"' in each for each in gateway.error_lines)


def test_a_session_that_is_not_there_is_not_found_and_nothing_is_sent(ann: Operator) -> None:
    for more in ((), ("--no-wait",), ("--wait", "type:chat_receive")):
        done = ann.types("send", "hi", "--session", "sess_none", *more)
        assert (done.returncode, done.stdout) == (9, ""), done.stderr
        assert "There is no session 'sess_none' (any more) at ws://" in done.stderr
    many = ann.types("send", "--jsonl", "-", "-s", "sess_none", typed="hi\n")
    assert (many.returncode, many.stdout) == (9, "")
    assert ann.types("tool", "time", "-s", "sess_none").returncode == 9
    piped = ann.types("chat", "-s", "sess_none", typed="hi\n")
    assert (piped.returncode, piped.stdout, "warning" in piped.stderr) == (9, "", False)
    watched = ann.types("tail", "upstream", "--session", "sess_none")
    assert (watched.returncode, watched.stdout, "gap" in watched.stderr) == (9, "", False)
    with on_a_terminal(ann, "chat", "-s", "sess_none") as child:
        shown, code = ended(child)
    assert (code, "There is no session 'sess_none'" in shown) == (9, True)


def test_a_new_session_will_do_where_one_says_so(ann: Operator) -> None:
    done = ann.types("send", "hi", "--session", "sess_none", "--or-new")
    assert done.returncode == 0
    assert done.stdout.startswith("You said “hi”")
    assert "the session is gone; a new one is sess_" in done.stderr


GOES_ON = """
rules:
  - name: breaks off
    match: {type: chat_send}
    steps:
      - stream: {text: "Half of", stop_after: 1}
      - close: {code: 1012, reason: the gateway restarts}
"""


def test_a_line_that_is_up_again_is_told(processes: Processes, tmp_path: Path) -> None:
    own = at_scenario(processes, tmp_path, GOES_ON)
    sent = typed_meanwhile(processes, own, "send", "hi")
    again = sent.error_lines.index(sent.wait_for_line("connected again; waiting for the rest"))
    assert "connection lost (service restarts (1012)" in sent.errors
    assert sent.error_lines[again] == "connected again; waiting for the rest"
    assert sent.error_lines[again - 1].endswith("dialling again")
