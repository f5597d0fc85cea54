"""The upstream is down: the relay stays up, and what it says is what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.processes import Processes


@pytest.mark.timeout(120)
def test_send_through_a_relay_whose_upstream_is_down_says_so_and_can_be_tried_again(
    processes: Processes, tmp_path: Path, port: int
) -> None:
    address = f"127.0.0.1:{port}"
    data = ("--data", str(tmp_path / "gateway"))
    user = ("--username", "ada", "--password-stdin")
    first = processes.megabot("gateway", "--listen", address, *data, *user, typed="a-password")
    url = first.ready()["url"]
    login = ("login", "--url", url, "--username", "ada", "--password-stdin")
    assert processes.run(*login, "--storage", "file", typed="a-password").wait() == 0
    first.kill()
    relay = processes.megabot("relay", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    assert relay.ready()["upstream_state"] == "unreachable"

    sent = processes.run("send", "hello", "--json")
    assert sent.wait() == 7
    fault = json.loads(sent.errors)["error"]
    assert fault["retryable"]
    assert "Connection refused" in fault["message"]

    processes.megabot("gateway", "--listen", address, "--chunk-delay", "2ms", *data).ready()
    again = processes.run("send", "hello again", limit_s=60)
    assert again.wait() == 0
    assert "hello again" in again.output
    assert relay.alive
