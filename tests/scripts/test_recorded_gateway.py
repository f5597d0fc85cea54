"""A recording that answers, as an operator starts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.conftest import PASSWORD, Operator
from tests.support.processes import Process, Processes

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"
UNCLEAN = SEALED.with_name("unclean")
LATER_GZ = SEALED.with_name("later_minor.jsonl.gz")
ASK = f"{sys.executable} -m megabot_cli send 'Grüße 😀 é'"


def test_a_program_hears_what_was_recorded(stranger: Operator) -> None:
    done = stranger.shell(
        f"megabot gateway --from-recording {SEALED} --pace fast --listen :0 -- {ASK}"
    )
    assert (done.returncode, done.stdout) == (0, "Hello there.\n"), done.stderr
    assert "Served: matched 1, missed 0, clients 1." in done.stderr


def test_a_recording_comes_on_stdin(stranger: Operator) -> None:
    done = stranger.shell(
        f"cat {SEALED}/000001.jsonl | "
        f"megabot gateway --from-recording - --pace fast --listen :0 -- {ASK}"
    )
    assert (done.returncode, done.stdout) == (0, "Hello there.\n"), done.stderr


@pytest.mark.parametrize(
    ("recording", "warned"), [(UNCLEAN, "torn at byte"), (LATER_GZ, "Answering")]
)
def test_replay_to_clients_serves_until_ctrl_c_and_sums_up(
    processes: Processes, recording: Path, warned: str
) -> None:
    running = processes.megabot("replay", str(recording), "--to", "clients", "--listen", ":0")
    assert running.ready()["url"].startswith("ws://127.0.0.1:")
    running.signal(signal.SIGINT)
    assert running.wait() == 0
    assert warned in running.errors
    assert "Served: matched 0, missed 0, clients 0." in running.errors


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("gateway", "--pace", "fast"), 2, "--from-recording"),
        (("gateway", "--miss", "echo"), 2, "--from-recording"),
        (("gateway", "--from-recording", "nope"), 9, "nope"),
        (("gateway", "--from-recording", str(SEALED), "--pace", "fixed:0/s"), 2, "rate"),
        (
            ("gateway", "--from-recording", str(SEALED), "--pace", "slow"),
            2,
            "none of original, fast, fixed:10/s",
        ),
        (("gateway", "--from-recording", str(SEALED), "--ignore", "a..b"), 2, "no path"),
        (("gateway", "--from-recording", str(SEALED), "--match", "words"), 2, "--match"),
        (("gateway", "--from-recording", __file__), 11, "recording"),
        (("replay", str(SEALED), "--miss", "echo"), 2, "--to clients"),
        (("replay", str(SEALED), "--to", "clients", "--limit", "3"), 2, "upstream"),
    ],
)
def test_what_makes_no_sense_is_refused(
    stranger: Operator, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = stranger.types(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr


def test_what_is_forwarded_must_not_come_back(processes: Processes) -> None:
    first = processes.megabot("gateway", "--listen", ":0")
    port = first.ready()["url"].split(":")[-1].removesuffix("/ws")
    assert first.stop() == 0
    url = f"ws://localhost:{port}/ws"
    listen = ("--listen", f"127.0.0.1:{port}")
    flags = ("--from-recording", str(SEALED), "--miss", "forward", *listen)
    done = processes.run("gateway", *flags, env={"MEGABOT_URL": url})
    assert done.wait() == 2
    assert "this gateway itself" in done.errors


def test_what_a_browser_exported_is_answered_from(stranger: Operator) -> None:
    har = Path(__file__).parents[1] / "golden" / "har" / "chromium_156.har"
    ask = f"{sys.executable} -m megabot_cli send 'Grüße 😀, what is the weather?'"
    done = stranger.shell(
        f"megabot gateway --from-recording {har} --pace fast --listen :0 -- {ask}"
    )
    assert "Served: matched 1, missed 0" in done.stderr
    assert "21.5" in done.stdout


def logged_in_at(processes: Processes, home: Path, *flags: str) -> tuple[Process, Operator]:
    """A real upstream, and an operator who is logged in there."""
    given = ("--chunk-delay", "2ms", "--username", "ann", "--password-stdin", *flags)
    upstream = processes.megabot("gateway", *given, typed=PASSWORD)
    home.mkdir()
    operator = Operator(home, upstream.ready()["url"])
    operator.logs_in()
    return upstream, operator


def player_of(processes: Processes, operator: Operator, home: Path) -> tuple[Process, Operator]:
    """A recording that answers with `operator`'s upstream behind it, and its client."""
    line = ("replay", str(SEALED), "--to", "clients", "--miss", "forward", "--listen", ":0")
    player = processes.megabot(*line, env=operator.environment())
    home.mkdir()
    client = Operator(home, player.ready()["url"])
    password = player.wait_for_line("shown only this once").rpartition(" ")[2]
    given = ("--username", "operator", "--password-stdin", "--storage", "file")
    done = client.types("login", *given, typed=password)
    assert done.returncode == 0, done.stderr
    return player, client


def links(upstream: Process, event: str = "opened") -> int:
    """How many connections of ann's were opened, or closed; her login is one of them."""
    return upstream.errors.count(f'"connection.{event}"') - 1


def last_message(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    message: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return message


def test_what_was_not_recorded_is_asked_of_the_upstream(
    processes: Processes, tmp_path: Path, port: int
) -> None:
    kept = ("--latency", "0", "--data", str(tmp_path / "data"), "--listen", f"127.0.0.1:{port}")
    upstream, ann = logged_in_at(processes, tmp_path / "ann", *kept)
    player, client = player_of(processes, ann, tmp_path / "client")
    assert client.types("send", "Grüße 😀 é").stdout == "Hello there.\n"
    assert links(upstream) == 0
    reply = last_message(client.types("send", "something new", "--json"))
    assert "something new" in reply["payload"]["content"]
    upstream.wait_for("the end of its link", lambda: links(upstream, "closed") == 1)
    session = reply["metadata"]["session_id"]
    reply = last_message(client.types("send", "more of it", "--session", session, "--json"))
    assert reply["metadata"]["session_id"] == session
    assert '"resumed": true' in upstream.errors  # it is one conversation there, too
    assert upstream.stop() == 0
    done = client.types("send", "something else")
    assert done.returncode == 7
    assert "The upstream cannot be had: Could not connect" in done.stderr
    assert client.types("send", "Grüße 😀 é").stdout == "Hello there.\n"
    processes.megabot("gateway", *kept).ready()
    assert "something else" in client.types("send", "something else").stdout
    player.signal(signal.SIGINT)
    assert player.wait() == 0
    assert "Served: matched 2, missed 4" in player.errors


def asked(processes: Processes, folder: Path) -> tuple[Process, Process, Process]:
    """A request that the upstream has taken and is long at: who asks, the player, the upstream."""
    slow = ("--latency", "60s", "--listen", ":0")
    upstream, ann = logged_in_at(processes, folder / "ann", *slow)
    player, client = player_of(processes, ann, folder / "client")
    asking = processes.megabot("send", "never recorded", env=client.environment())
    upstream.wait_for("the request", lambda: links(upstream) == 1)
    player.wait_for_line("recorded.missed")
    return asking, player, upstream


def test_an_upstream_that_goes_before_it_has_answered_leaves_nobody_waiting(
    processes: Processes, tmp_path: Path
) -> None:
    asking, _, upstream = asked(processes, tmp_path)
    upstream.signal(signal.SIGKILL)
    assert asking.wait() == 7
    assert "The upstream has not answered: " in asking.errors


def test_ctrl_c_in_the_middle_of_what_is_forwarded_ends_all_at_once(
    processes: Processes, tmp_path: Path
) -> None:
    asking, player, upstream = asked(processes, tmp_path)
    player.signal(signal.SIGINT)
    assert player.wait(5.0) == 0
    assert "Served: matched 0, missed 1, clients 2." in player.errors
    assert "Traceback" not in player.errors
    upstream.wait_for("the end of its link", lambda: links(upstream, "closed") == 1)
    asking.wait_for_line("service restarts (1012)")


def test_who_does_not_wait_is_forwarded_all_the_same(processes: Processes, tmp_path: Path) -> None:
    some = ("--latency", "500ms", "--listen", ":0")
    upstream, ann = logged_in_at(processes, tmp_path / "ann", *some)
    _, client = player_of(processes, ann, tmp_path / "client")
    assert client.types("send", "no answer, please", "--no-wait").returncode == 0
    upstream.wait_for("the end of its link", lambda: links(upstream, "closed") == 1)
    at = [json.loads(line)["timestamp"] for line in upstream.error_lines if "connection." in line]
    first, last = map(datetime.fromisoformat, at[-2:])
    assert (last - first).total_seconds() >= 0.5  # it was answered
