"""What `relay` and `gateway` tell whoever starts and stops them."""

from __future__ import annotations

import os
import signal

import pytest

from tests.scripts.conftest import Operator
from tests.support.processes import Processes, megabot


@pytest.mark.parametrize(
    ("line", "variable", "meant"),
    [
        ("relay --no-record --admin-listen :0", "MEGABOT_RELAY_MOED", "MEGABOT_RELAY_MODE"),
        ("gateway", "MEGABOT_GATEWAY_ASISTANT", "MEGABOT_GATEWAY_ASSISTANT"),
        ("gateway --dialect flat", "MEGABOT_GATEWAY_ASISTANT", "MEGABOT_GATEWAY_ASSISTANT"),
    ],
)
def test_a_misspelt_variable_is_told_at_the_start(
    ann: Operator, processes: Processes, line: str, variable: str, meant: str
) -> None:
    env = ann.environment({variable: "x"})
    command = megabot(*line.split(), "--listen", ":0")
    running = processes.start("service", command, env=env, typed="")
    running.ready()
    (told,) = [each for each in running.error_lines if variable in each]
    assert told.startswith(f"warning: {variable} sets nothing: there is no such setting.")
    assert told.endswith(f"Did you mean {meant!r}?")


def test_a_relay_that_never_reached_its_upstream_says_so_when_it_is_stopped(
    stranger: Operator, processes: Processes
) -> None:
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    away = stranger.environment({"MEGABOT_URL": "ws://127.0.0.1:9/ws", "MEGABOT_API_KEY": "k"})
    relay = processes.start("relay", command, env=away, typed="")
    relay.ready()
    relay.signal(signal.SIGINT)
    assert relay.wait() == 0
    assert relay.error_lines[-1].startswith("warning: the relay never reached ws://127.0.0.1:9;")


def test_a_relay_that_reached_its_upstream_says_nothing_of_it(
    ann: Operator, processes: Processes
) -> None:
    for mode in ("session", "dedicated"):
        command = megabot(
            "relay", "--listen", ":0", "--admin-listen", ":0", "--no-record", "--mode", mode
        )
        relay = processes.start("relay", command, env=ann.environment(), typed="")
        relay.ready()
        assert relay.stop() == 0
        assert not any("never reached" in line for line in relay.error_lines)


def test_what_a_script_starts_with_an_ampersand_is_ended_by_kill_and_its_help_says_so(
    ann: Operator, processes: Processes
) -> None:
    for words in (("relay", "--admin-listen", ":0", "--no-record"), ("gateway",)):
        command = " ".join(megabot(*words, "--listen", ":0"))
        # Without job control a shell has what it starts so ignore SIGINT (POSIX, 2.11).
        line = f"{command} & wait $!"
        running = processes.start(words[0], ["sh", "-c", line], env=ann.environment(), typed="")
        pid = running.ready()["pid"]
        os.kill(pid, signal.SIGINT)
        assert "ignores SIGINT" in " ".join(ann.types(words[0], "--help").stdout.split())
        os.kill(pid, signal.SIGTERM)
        assert running.wait() == 0
