"""/healthz says whether the process works, /readyz whether a new client would be served."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Stage, until
from tests.support.upstream import ScriptedUpstream


async def ask(stage: Stage, relay: Relay, path: str) -> tuple[int, Any]:
    async with stage.http.get(f"{relay.admin_url}/{path}") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json()


async def test_a_relay_that_is_well_is_healthy_and_ready(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, record=True)
    assert await ask(stage, relay, "healthz") == (200, {"status": "ok"})
    assert await ask(stage, relay, "readyz") == (200, {"ready": True, "links": {"up": 1}})


async def test_an_upstream_that_is_away_is_a_matter_of_readiness_and_not_of_health(
    stage: Stage,
) -> None:
    async with ScriptedUpstream() as upstream:
        relay = await stage.open_relay(upstream.url)
    await until(lambda: relay.numbers.dial_failures > 0)
    assert (await ask(stage, relay, "healthz"))[0] == 200
    status, facts = await ask(stage, relay, "readyz")
    assert (status, facts["ready"]) == (503, False)
    assert sum(facts["links"].values()) == 1
    assert facts["reason"], "why is told"


async def test_one_link_that_is_up_is_enough_to_serve(
    stage: Stage, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.link.random.random", lambda: 1.0)  # not back at once
    relay = await stage.open_relay(gateway.url)
    await stage.greeted(relay.url)
    await stage.greeted(relay.url)
    first, _ = relay.sessions
    first.link.drop()
    await until(lambda: not first.link.up)
    assert (await ask(stage, relay, "readyz"))[0] == 200


async def test_without_a_link_the_next_client_makes_one(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, mode="dedicated")
    assert await ask(stage, relay, "readyz") == (200, {"ready": True, "links": {}})


async def test_a_relay_that_stops_is_healthy_and_not_ready(stage: Stage) -> None:
    gateway = await stage.open_gateway(chunk_delay_s=0.05)
    relay = await stage.open_relay(gateway.url, drain_s=10.0)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="finish this, it takes a while")
    await peer.message("chat_stream")
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    await until(lambda: relay.draining)
    assert (await ask(stage, relay, "healthz"))[0] == 200
    status, facts = await ask(stage, relay, "readyz")
    assert (status, facts["reason"]) == (503, "draining")
    await draining
    await gateway.stop()


async def test_a_relay_that_can_record_no_more_serves_on_and_says_so(
    stage: Stage, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.server.HEALTH_CHECK_S", 0.05)
    relay = await stage.open_relay(gateway.url, record=RecordingSettings(segment_bytes=4096))
    assert relay.recorder is not None
    shutil.rmtree(relay.recorder.folder)  # the next segment cannot be begun
    peer, _ = await stage.greeted(relay.url)
    for number in range(40):
        await peer.send("chat_send", f"m{number}", content="x" * 200)
    await until(lambda: relay.recorder is not None and not relay.recorder.healthy)
    status, facts = await ask(stage, relay, "healthz")
    assert (status, facts["status"]) == (200, "degraded")
    assert "cannot be written" in facts["recording"]
    assert (await ask(stage, relay, "readyz"))[0] == 200
    now = relay.gauges().recorder
    assert now is not None
    assert (now.healthy, now.disk_full) == (False, False)
