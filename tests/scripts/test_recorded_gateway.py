"""A recording that answers, as an operator starts it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.support.processes import Processes

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
        (("gateway", "--from-recording", str(SEALED), "--pace", "slow"), 2, "fixed:N/s"),
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
