"""`send --no-wait` takes a short way; nobody must be able to tell but by the clock."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.plain_socket import NotSoSimple, PlainSocket
from tests.scripts.conftest import Operator, start_gateway
from tests.support.processes import Processes


def test_it_goes_through_the_relay_and_is_recorded_whole(
    stranger: Operator, processes: Processes
) -> None:
    stranger.logs_in()
    relay = processes.megabot(
        "relay", "--listen", ":0", "--admin-listen", ":0", env=stranger.environment()
    )
    relay.ready()
    long = "é" * 4000
    done = stranger.types("send", long, "--no-wait")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    relay.stop()
    shown = stranger.types("recordings", "show", "last", "--type", "chat_send", "--json").stdout
    (record,) = [json.loads(line) for line in shown.splitlines()]
    assert json.loads(record["data"])["payload"]["content"] == long


def test_a_session_is_gone_on_with(ann: Operator) -> None:
    session = json.loads(ann.types("whoami", "--json").stdout)["session"]
    done = ann.types("send", "remember", "--session", session, "--no-wait")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("env", "more", "code"),
    [
        ({"MEGABOT_TOKEN": "wrong"}, (), 4),
        ({"MEGABOT_TOKEN": "x"}, ("--url", "ws://127.0.0.1:9/ws"), 7),
        ({"MEGABOT_TOKEN": "x"}, ("--url", "ws://127.0.0.1:9/a b"), 2),
    ],
)
def test_what_goes_wrong_is_told_as_ever(
    ann: Operator, env: dict[str, str], more: tuple[str, ...], code: int
) -> None:
    done = ann.types("send", "hi", "--no-wait", *more, env=env)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error:")


def test_a_token_may_go_in_the_query(processes: Processes, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home).mkdir(mode=0o700)
    (home / "config.yaml").write_text("profiles: {default: {auth: {send_in: query}}}\n")
    ann = Operator(home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    assert ann.types("send", "hi", "--no-wait").returncode == 0


Answer = Callable[[socket.socket], None]


def answering(answer: Answer) -> str:
    """The URL of somebody who answers one connection in some way of their own."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.recv(65536)
            answer(peer)

    threading.Thread(target=serve, daemon=True).start()
    return f"ws://127.0.0.1:{port}/ws"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 401 Unauthorized\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 40_000,
        b"\x00" * 70_000,
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_an_upstream_that_is_none_is_not_so_simple(said: bytes) -> None:
    url = answering(lambda peer: peer.sendall(said) if said else None)
    with pytest.raises(NotSoSimple):
        PlainSocket(parse_endpoint(url), {}, {}, limit_s=2.0)


def test_silence_is_not_waited_for_longer_than_the_limit() -> None:
    over = threading.Event()

    def wait(_: socket.socket) -> None:
        over.wait(10)

    url = answering(wait)
    try:
        with pytest.raises(NotSoSimple):
            PlainSocket(parse_endpoint(url), {}, {}, limit_s=0.2)
    finally:
        over.set()


def test_no_header_smuggles_a_second_one_in() -> None:
    url = answering(lambda peer: None)
    with pytest.raises(NotSoSimple):
        PlainSocket(parse_endpoint(url), {"Authorization": "x\r\nHost: y"}, {}, limit_s=0.5)
