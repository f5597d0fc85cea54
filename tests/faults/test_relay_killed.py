"""kill -9 of the relay during traffic: what a client saw is in the recording, and it replays."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time

import aiohttp
import pytest

from tests.support.processes import Processes

# A message seen this long before the kill must be in the recording, and as much longer as this
# machine kept the relay waiting: its writing thread waited as well.
SAFE_S = 0.2


async def talk_until_killed(url: str, relay_pid: int) -> set[str]:
    """Chat for a while, kill the relay in the middle; returns what it saw in time."""
    seen: dict[str, float] = {}
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        killed_at = time.monotonic() + 1.5
        number = 0
        while time.monotonic() < killed_at:
            message = {
                "id": f"msg_{number}",
                "type": "chat_send",
                "payload": {"content": f"message number {number}"},
                "timestamp": time.time(),
            }
            await socket.send_str(json.dumps(message))
            number += 1
            while True:
                answer = await socket.receive(timeout=10)
                assert answer.type is aiohttp.WSMsgType.TEXT
                envelope = json.loads(answer.data)
                seen[envelope["id"]] = time.monotonic()
                if envelope["type"] == "chat_receive":
                    break
        os.kill(relay_pid, signal.SIGKILL)
        stalled_s = max(later - at for at, later in itertools.pairwise(seen.values()))
        cut_off_at = time.monotonic() - SAFE_S - stalled_s
    return {name for name, at in seen.items() if at < cut_off_at}


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_what_a_client_saw_is_in_the_recording_which_verifies_as_unclean_and_replays(
    processes: Processes,
) -> None:
    gateway = processes.megabot(
        *("gateway", "--listen", "127.0.0.1:0", "--latency", "0", "--chunk-delay", "1ms"),
        *("--username", "ada", "--password-stdin"),
        typed="a-password",
    ).ready()["url"]
    login = ("login", "--url", gateway, "--username", "ada", "--password-stdin")
    assert processes.run(*login, "--storage", "file", typed="a-password").wait() == 0
    relay = processes.megabot(
        *("relay", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"),
        *("--rate-limit", "0"),
    )
    must_have = asyncio.run(talk_until_killed(relay.ready()["url"], relay.pid))
    assert len(must_have) > 20
    (part,) = processes.home.rglob("*.jsonl.part")
    recorded = {record_id(line) for line in part.read_bytes().split(b"\n")}
    assert must_have - recorded == set()

    verdict = processes.run("recordings", "verify", "last", "--json", "--no-secrets")
    assert json.loads(verdict.output)["clean"] is False
    replay = processes.run(
        *("replay", "last", "--to", gateway, "--pace", "fast", "--limit", "10", "--json"),
        limit_s=60,
    )
    assert replay.wait() == 0
    assert json.loads(replay.output)["sent"] == 10


def record_id(line: bytes) -> str | None:
    """The id of the message a line records; None for other lines and for a torn one."""
    try:
        found: str | None = json.loads(line).get("id")
    except ValueError:
        return None
    return found
