"""A relay that refuses: told once, by its name, with what helps there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.scripts.conftest import Operator, start_gateway
from tests.scripts.test_exit_codes import ANSWERS
from tests.scripts.test_relay_and_recordings import start_relay
from tests.support.ports import kept_port
from tests.support.processes import Processes, megabot, wait_until


@pytest.fixture
def port() -> Iterator[int]:
    with kept_port() as port:
        yield port


def test_a_relay_that_wants_another_token_is_no_upstream_to_log_in_at(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    relay = start_relay(processes, stranger, "--require-token", "--no-record")
    url, admin_url = relay.ready()["url"], relay.ready()["admin_url"]
    file = stranger.home / "state" / "client-token"
    file.write_text("another")
    for line in (("send", "hi"), ("send", "hi", "--no-wait"), ("chat",), ("tail",), ("tool", "x")):
        done = stranger.types(*line)
        assert done.returncode == 4, line
        assert done.stderr.startswith(f"error: The relay at {url} lets nobody in without its token")
        assert str(file) in "".join(done.stderr.split("\n"))
        assert "log in" not in done.stderr.lower()
    done = stranger.types("relay", "status")
    assert done.returncode == 5
    assert done.stderr.startswith(f"error: The relay at {admin_url} lets nobody in")


def test_a_relay_taken_for_an_upstream_that_wants_its_token_says_how_to_give_it(
    stranger: Operator, processes: Processes
) -> None:
    """No login with a password helps at a relay; its client token does, in both ways told."""
    stranger.logs_in()
    relay = start_relay(processes, stranger, "--require-token", "--no-record")
    guest = Operator(stranger.home.with_name("guest"), relay.ready()["url"])
    guest.home.mkdir(mode=0o700)
    asks = ("login", "--username", "ann", "--password-stdin")
    for line in (("send", "hi"), ("tail",), ("tool", "x"), ("doctor",), asks):
        for given in ({}, {"MEGABOT_TOKEN": "another"}):
            if line == ("doctor",) and not given:
                continue  # it asks nobody without a credential
            done = guest.types(*line, env=given, typed="a password")
            assert done.returncode == 4, line
            said = " ".join(done.stderr.split())
            assert "client-token. Give it in MEGABOT_TOKEN, or to `megabot login" in said, line
            assert "--api-key-stdin`" in said
            assert "Log in again" not in said
    token = (stranger.home / "state" / "client-token").read_text()
    assert guest.types("send", "hi", env={"MEGABOT_TOKEN": token.strip()}).returncode == 0
    assert guest.types("login", "--api-key-stdin", typed=token).returncode == 0
    assert guest.types("send", "hi").returncode == 0


def test_what_the_upstream_refuses_a_relay_is_said_once(
    stranger: Operator, processes: Processes, port: int
) -> None:
    """Its gateway comes back without the users it had."""
    url = start_gateway(processes, "--listen", f"127.0.0.1:{port}")
    ann = Operator(stranger.home, url)
    ann.logs_in()
    relay = start_relay(processes, ann, "--no-record")
    relay.ready()
    processes.running[0].stop()
    start_gateway(processes, "--listen", f"127.0.0.1:{port}")
    wait_until(
        lambda: any('"link.refused"' in line for line in relay.error_lines), "the link is refused"
    )
    done = ann.types("send", "hi")
    assert done.returncode == 4  # at the door, or after it had waited for the link
    said = " ".join(done.stderr.split())
    assert said.count("refused the credential") == 1
    assert f"The upstream at ws://127.0.0.1:{port} refused the credential" in said
    assert "then `megabot relay reauth` has the relay read it" in said


def test_a_credential_that_cannot_be_read_anew_is_told_and_no_client_hung_up_on_for_it(
    stranger: Operator, processes: Processes, port: int
) -> None:
    ann = Operator(stranger.home, start_gateway(processes, "--listen", f"127.0.0.1:{port}"))
    ann.logs_in()
    relay = start_relay(processes, ann, "--no-record")
    relay.ready()
    processes.running[0].stop()
    start_gateway(processes, "--listen", f"127.0.0.1:{port}")
    relay.wait_for_line('"link.refused"')
    (stored,) = (stranger.home / "credentials").glob("*.json")
    stored.write_text("{damaged")
    done = ann.types("send", "hi", "--timeout", "3")
    assert done.returncode == 3  # its message waits
    assert "refused the credential" in " ".join(done.stderr.split())
    (told,) = (json.loads(line) for line in relay.error_lines if '"credential.not_read"' in line)
    assert told["fault"].endswith("is damaged")
    assert told["hint"] == "`megabot login` writes it anew."
    assert "library.warned" not in relay.errors


@pytest.mark.parametrize("status", [401, 403])
def test_what_the_upstream_does_not_let_in_is_not_said_of_the_relay(
    stranger: Operator, processes: Processes, port: int, status: int
) -> None:
    """In `dedicated` mode the upstream's answer to a dial is the relay's to its client."""
    ann = Operator(stranger.home, f"ws://127.0.0.1:{port}/ws")
    keyed = {"MEGABOT_API_KEY": "k"}
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record",
                      "--mode", "dedicated")  # fmt: skip
    relay = processes.start("relay", command, env=ann.environment(keyed), typed="")
    assert relay.ready()["upstream_state"] == "unreachable"
    processes.start("upstream", [sys.executable, "-c", ANSWERS, str(status), str(port)]).ready()
    sent = [ann.types("send", "hi", env=keyed)]
    while sent[-1].returncode == 7:  # for a second after the last dial nobody tries again
        sent.append(ann.types("send", "hi", env=keyed))
    assert sent[-1].returncode == {401: 4, 403: 5}[status]
    upstream = f"The upstream at ws://127.0.0.1:{port}"
    assert sent[-1].stderr.startswith(f"error: {upstream} ")
    assert sent[-1].stderr.count("The upstream at") == 1
    said = " ".join(sent[-1].stderr.split())
    assert ("`megabot relay reauth` has the relay read it" in said) == (status == 401)
    assert "token is in" not in said


@pytest.mark.parametrize("mode", ["session", "dedicated"])
def test_a_relay_without_a_credential_for_a_profile_is_not_one_that_wants_a_token(
    stranger: Operator, processes: Processes, mode: str
) -> None:
    stranger.logs_in()
    lost = start_gateway(processes, "--listen", ":0")
    (stranger.home / "config.yaml").write_text(f"profiles: {{lost: {{url: {lost}}}}}\n")
    relay = start_relay(processes, stranger, "--no-record", "--also", "lost", "--mode", mode)
    url = relay.ready()["url"]
    done = stranger.types("-p", "lost", "send", "hi", env={"MEGABOT_URL": ""})
    assert done.returncode == 4
    said = " ".join(done.stderr.split())
    whose = {
        "session": f"The upstream at {lost.removesuffix('/ws')} refused",
        "dedicated": f"The relay at {url}?profile=lost has no credential that is good",
    }
    assert said.startswith(f"error: {whose[mode]}")
    assert "`megabot -p lost relay reauth` has the relay read it" in said
    assert "token is in" not in said


def test_a_relay_that_cannot_start_for_its_credential_says_so_once(stranger: Operator) -> None:
    stranger.logs_in()
    done = stranger.types(
        "relay", "--listen", ":0", "--admin-listen", ":0", env={"MEGABOT_TOKEN": "bogus"}
    )
    assert done.returncode == 4
    assert done.stderr.count("no longer accepts this login") == 1
    assert "error: The upstream at" in done.stderr


def test_a_relay_that_serves_others_logs_whose_credential_is_refused(
    stranger: Operator, processes: Processes, port: int
) -> None:
    """It goes on, so no error tells it at the end."""
    stranger.logs_in()
    start_gateway(processes, "--listen", f"127.0.0.1:{port}")
    stranger.logs_in("--profile", "lost", "--url", f"ws://127.0.0.1:{port}/ws")
    processes.running[-1].stop()
    start_gateway(processes, "--listen", f"127.0.0.1:{port}")
    relay = start_relay(processes, stranger, "--no-record", "--also", "lost")
    assert relay.ready()["upstream_state"] == "up"
    wait_until(
        lambda: any('"link.refused"' in line for line in relay.error_lines), "the refusal is told"
    )
    (told,) = (json.loads(line) for line in relay.error_lines if '"link.refused"' in line)
    assert told["profile"] == "lost"
    assert "`megabot -p lost login`" in told["hint"]
    opened = [json.loads(line) for line in relay.error_lines if '"link.up"' in line]
    assert [each["profile"] for each in opened] == ["default"]


def test_a_relay_that_is_full_is_called_a_relay(stranger: Operator, processes: Processes) -> None:
    stranger.logs_in()
    command = megabot("relay", "--listen", ":0", "--admin-listen", ":0", "--no-record")
    few = stranger.environment({"MEGABOT_RELAY_MAX_CLIENTS": "1"})
    relay = processes.start("relay", command, env=few, typed="")
    url = relay.ready()["url"]
    chat = processes.start("chat", megabot("chat"), env=stranger.environment())
    wait_until(
        lambda: any('"client.opened"' in line for line in relay.error_lines), "the place is taken"
    )
    done = stranger.types("send", "hi")
    assert done.returncode == 10
    assert done.stderr.startswith(f"error: The relay at {url} asks to slow down: 1 client may")
    chat.end()
