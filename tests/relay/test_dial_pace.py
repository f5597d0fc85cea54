"""An upstream that is away, or asks to be left alone, is not overrun by new sessions."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
import structlog
from aiohttp import web

from megabot_cli.relay.memory_engine import AWAY_S, WELL_S
from tests.relay.conftest import Stage, until
from tests.support.upstream import ScriptedUpstream


class Gate:
    """Lets dials in, or answers them all alike; notes when they came."""

    def __init__(self, status: int, **headers: str) -> None:
        self.shut = False
        self.came_at: list[float] = []
        self._status = status
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def __call__(self, _: web.Request) -> web.StreamResponse | None:
        self.came_at.append(asyncio.get_running_loop().time())
        if not self.shut:
            return None
        return web.json_response({"message": "no"}, status=self._status, headers=self._headers)


async def test_while_a_retry_after_runs_new_clients_hear_503_and_nothing_is_dialled(
    stage: Stage,
) -> None:
    gate = Gate(503, Retry_After="20")
    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url)
        gate.shut = True
        await stage.connect(relay.url, "another")
        await until(lambda: len(gate.came_at) == 2)
        await until(lambda: relay.sessions[-1].link.fault is not None)
        for number in range(3):
            late = await stage.connect(relay.url, f"sess_late_{number}")
            error = (await late.message("connection_error"))["payload"]
            assert error["code"] == 503
            assert "left alone for another" in error["message"]
        assert len(gate.came_at) == 2


async def test_after_a_dial_that_failed_new_sessions_keep_to_one_a_second(stage: Stage) -> None:
    gate = Gate(500)
    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url)
        gate.shut = True
        await stage.connect(relay.url, "another")
        await until(lambda: len(gate.came_at) == 2)
        await until(lambda: relay.sessions[-1].link.fault is not None)
        for number in range(8):
            await stage.connect(relay.url, f"sess_late_{number}")
        await asyncio.sleep(1.5)
        since_s = asyncio.get_running_loop().time() - gate.came_at[1]
        assert len(gate.came_at) <= 3 + since_s
        gate.shut = False
        # From the first success on they follow each other quickly.
        await until(lambda: all(each.link.up for each in relay.sessions), limit_s=20)


async def test_the_log_says_when_the_next_dial_comes_with_the_pace_that_all_links_share(
    stage: Stage,
) -> None:
    gate = Gate(500)
    async with ScriptedUpstream(gate=gate) as upstream:
        await stage.open_relay(upstream.url)
        gate.shut = True
        with structlog.testing.capture_logs() as logged:
            await upstream.connections[-1].cut()
            await until(lambda: len(gate.came_at) == 3)
    told = [each["retry_in_s"] for each in logged if each["event"] == "link.dial_failed"]
    before, after = gate.came_at[-2:]
    assert AWAY_S - 0.05 <= told[0] <= after - before + 0.01


async def test_links_that_reauth_brings_back_do_not_come_all_at_once(stage: Stage) -> None:
    gate = Gate(401)
    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url)
        peers = [(await stage.greeted(relay.url))[0] for _ in range(4)]
        gate.shut = True
        for connection in list(upstream.connections):
            await connection.cut()
        closed = await asyncio.gather(*(peer.close_code(limit_s=15) for peer in peers))
        assert closed == [4500] * 4
        gate.shut, before = False, len(gate.came_at)
        began = asyncio.get_running_loop().time()
        assert relay.operations.reauth() == 4
        await until(lambda: len(gate.came_at) == before + 4, limit_s=10)
        # None came before its turn; how late a busy machine let it is no matter.
        after_s = [each - began for each in gate.came_at[before:]]
        assert all(each >= WELL_S * turn - 0.01 for turn, each in enumerate(after_s)), after_s


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "20"}], ids=["away", "Retry-After"])
async def test_a_dedicated_client_hears_503_with_the_time_left(
    stage: Stage, headers: dict[str, str]
) -> None:
    gate = Gate(429, **headers)
    async with ScriptedUpstream(gate=gate) as upstream:
        relay = await stage.open_relay(upstream.url, mode="dedicated")
        await stage.connect(relay.url)
        gate.shut, before = True, len(gate.came_at)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stage.connect(relay.url)
        assert refused.value.status == 429
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stage.connect(relay.url)
        assert refused.value.status == 503
        assert refused.value.headers is not None
        assert refused.value.headers["Retry-After"] == ("20" if headers else "1")
        assert len(gate.came_at) == before + 1
