"""The flat dialect as an operator meets it: gateway, send, relay, recording, replay."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.scripts.conftest import Operator
from tests.scripts.test_terminal import ended, on_a_terminal
from tests.support.processes import Process, Processes, megabot

TOKEN = "a-static-token"
QUICK = ("--latency", "0", "--chunk-delay", "0")


def flat_operator(processes: Processes, home: Path) -> Operator:
    """Somebody without a login, whose gateway speaks flat."""
    return flat_gateway(processes, home)[1]


def flat_gateway(processes: Processes, home: Path) -> tuple[Process, Operator]:
    home.mkdir(mode=0o700, exist_ok=True)
    command = megabot("gateway", "--dialect", "flat", "--listen", ":0", *QUICK)
    environment = Operator(home, "").environment({"MEGABOT_FLAT_TOKEN": TOKEN})
    gateway = processes.start("gateway", command, env=environment, typed="")
    facts = gateway.ready()
    assert facts["dialect"] == "flat"
    return gateway, Operator(home, facts["url"])


FLAT = {"MEGABOT_DIALECT": "flat", "MEGABOT_API_KEY": TOKEN}


def says(operator: Operator, *arguments: str) -> subprocess.CompletedProcess[str]:
    return operator.types(*arguments, env=FLAT)


def test_send_speaks_flat_and_refuses_what_it_has_no_place_for(
    processes: Processes, tmp_path: Path
) -> None:
    operator = flat_operator(processes, tmp_path / "home")
    assert says(operator, "send", "hi").stdout.startswith("You said “hi”")
    raw = json.loads(says(operator, "send", "hi", "--json").stdout)
    assert (raw["type"], raw["sender"]) == ("message", "MegaBot")
    assert says(operator, "send", "hi", "--fields", "type").stdout == "message\n"
    dry = says(operator, "send", "hi", "--dry-run")
    assert dry.stdout == '{"type":"message","content":"hi"}\n'
    queued = says(operator, "send", "-t", "command", "-d", '{"command":"ls"}')
    assert queued.stdout == "Command queued for approval: ls\n"
    for wrong in (("--session", "s"), ("--metadata", "a=b")):
        done = says(operator, "send", "hi", *wrong)
        assert done.returncode == 2, done.stderr
        assert "flat" in done.stderr.lower()
    assert says(operator, "send", "hi", "-t", "nope").returncode == 2
    signed = operator.types("send", "hi", env={**FLAT, "MEGABOT_INTEGRITY_REQUIRE": "true"})
    assert (signed.returncode, "signatures" in signed.stderr) == (12, True)
    assert says(operator, "send", "-t", "nope", "-d", '{"a":1}').returncode == 11
    refused = operator.types("send", "hi", env={**FLAT, "MEGABOT_API_KEY": "wrong"})
    assert refused.returncode == 4
    assert "megabot login --api-key-stdin" in refused.stderr


def test_a_stored_token_serves_send_relay_recording_tail_and_replay(
    processes: Processes, tmp_path: Path
) -> None:
    operator = flat_operator(processes, tmp_path / "home")
    flat = {"MEGABOT_DIALECT": "flat"}
    stored = operator.types("login", "--api-key-stdin", "--storage", "file", typed=TOKEN, env=flat)
    assert stored.returncode == 0, stored.stderr
    assert operator.types("send", "hi", env=flat).stdout.startswith("You said “hi”")

    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0")
    relay = processes.start("relay", command, env=operator.environment(flat), typed="")
    facts = relay.ready()
    done = operator.types("send", "through the relay", "-v", env=flat)
    assert f"through the relay {facts['url']}" in done.stderr
    assert done.stdout.startswith("You said “through the relay”")
    shown = operator.types("tail", "-n", "9", "--no-follow", env=flat)
    assert "message" in shown.stdout, shown.stderr
    assert "through the relay" in shown.stdout
    relay.stop()

    replayed = operator.types(
        "replay", "last", "--pace", "fast", "--expect", "exact", "--json", env=flat
    )
    assert replayed.returncode == 0, replayed.stderr
    report = json.loads(replayed.stdout)
    assert (report["sent"], report["same"]) == (1, 1)


def test_a_gateway_within_the_relay_does_not_speak_flat(stranger: Operator) -> None:
    done = stranger.types("relay", "--gateway", env={"MEGABOT_GATEWAY_DIALECT": "flat"})
    assert done.returncode == 2, done.stderr
    assert "megabot gateway --dialect flat" in done.stderr


def test_a_token_is_made_once_and_a_guest_gets_in_without(
    processes: Processes, tmp_path: Path
) -> None:
    operator = Operator(tmp_path, "ws://127.0.0.1:9/ws")
    program = " ".join(megabot())
    done = operator.types(
        "gateway", "--dialect", "flat", "--listen", ":0", *QUICK, "--",
        "bash", "-c", f"{program} send hi",
    )  # fmt: skip
    assert (done.returncode, done.stdout[:8]) == (0, "You said"), done.stderr
    wrong = operator.types("gateway", "--dialect", "flat", "--users", "users.yaml")
    assert wrong.returncode == 2
    command = megabot("gateway", "--dialect", "flat", "--listen", ":0", "--data", str(tmp_path))
    for times, expected in enumerate((True, False)):
        started = processes.start(f"gateway {times}", command, env=operator.environment(), typed="")
        started.ready()
        started.stop()
        assert ("shown only this once" in started.errors) is expected


def test_chat_speaks_flat_too(processes: Processes, tmp_path: Path) -> None:
    operator = flat_operator(processes, tmp_path / "home")
    done = operator.types("chat", typed="one\ntwo\n", env=FLAT)
    assert done.returncode == 0, done.stderr
    assert [line[:14] for line in done.stdout.splitlines()] == ["You said “one”", "You said “two”"]
    refused = operator.types("chat", "--session", "sess_1", typed="one", env=FLAT)
    assert refused.returncode == 2


def test_what_the_relay_refuses_in_a_chat_is_told_as_its_own_words(
    processes: Processes, tmp_path: Path
) -> None:
    operator = flat_operator(processes, tmp_path / "home")
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    strict = operator.environment({**FLAT, "MEGABOT_RELAY_VALIDATION": "strict"})
    url = processes.start("relay", command, env=strict, typed="").ready()["url"]
    for line in (("send", "hi"), ("chat",)):
        done = operator.types(*line, typed="hi\n", env=FLAT)
        assert done.returncode == 11
        assert done.stderr.startswith(f"error: The relay at {url} does not accept the message: ")


def test_a_person_is_told_that_the_upstream_behind_the_relay_is_away(
    processes: Processes, tmp_path: Path
) -> None:
    gateway, operator = flat_gateway(processes, tmp_path / "home")
    command = ("relay", "--mode", "shared", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    relay = processes.megabot(*command, env=operator.environment(FLAT))
    relay.ready()
    assert says(operator, "send", "hi").stdout.startswith("You said “hi”")
    gateway.kill()
    relay.wait_for_line("link.lost")
    piped = processes.megabot("send", "hi", "--timeout", "4s", env=operator.environment(FLAT))
    with on_a_terminal(operator, "send", "hi", "--timeout", "3s", **FLAT) as child:
        told = "the upstream is away: .*messages wait and are sent when it is back"
        child.expect(told.replace(" ", r"\s+"))  # it is broken between words
        child.expect("of waiting for an answer from the relay")
        assert ended(child)[1] == 3
    assert piped.wait() == 3
    assert piped.errors.startswith("error: No whole answer came within 4 s: the upstream is away:")
