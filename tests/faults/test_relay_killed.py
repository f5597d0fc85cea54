"""kill -9 of the relay during traffic: what a client saw is in the recording, and it replays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from tests.support.processes import Stage

SAFE_S = 0.2  # a message seen this long before the kill must be in the recording


async def talk_until_killed(url: str, relay_pid: int) -> dict[str, float]:
    """Chat for a while, kill the relay in the middle; returns when each message was seen."""
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
        cut_off_at = time.monotonic() - SAFE_S
    return {name: at for name, at in seen.items() if at < cut_off_at}


@pytest.mark.timeout(120)
def test_what_a_client_saw_is_in_the_recording_which_verifies_as_unclean_and_replays(
    tmp_path: Path,
) -> None:
    with Stage(tmp_path) as stage:
        gateway = stage.gateway("--latency", "0", "--chunk-delay", "0.005")
        stage.login(gateway["url"])
        relay = stage.start("relay", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                            "--rate-limit", "0")  # fmt: skip
        url = relay.ready()["url"]
        must_have = asyncio.run(talk_until_killed(url, relay.pid))
        assert len(must_have) > 20
        (part,) = (tmp_path / "home").rglob("*.jsonl.part")
        recorded = {
            json.loads(line).get("id") for line in part.read_bytes().splitlines(keepends=True)[1:-1]
        }
        assert must_have.keys() - recorded == set()

        verdict = stage.run("recordings", "verify", "last", "--json", "--no-secrets")
        assert json.loads(verdict.stdout)["clean"] is False
        replay = stage.run("replay", "last", "--to", gateway["url"], "--pace", "fast",
                           "--no-rate-limit", "--limit", "10", "--json")  # fmt: skip
        assert replay.returncode == 0, replay.stderr
        assert json.loads(replay.stdout)["sent"] == 10
