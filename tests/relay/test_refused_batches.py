"""A batch that the upstream refuses as a whole: nothing in it is open any more."""

from __future__ import annotations

import asyncio
import contextlib
import json

import aiohttp
import pytest

from tests.relay.conftest import Stage, until
from tests.relay.test_dedicated_stopping import batch, text
from tests.support.upstream import Connection, Gone, ScriptedUpstream


async def refuse_batches(connection: Connection) -> None:
    """All else is answered."""
    await connection.greet()
    with contextlib.suppress(Gone):
        while True:
            said = json.loads(await connection.receive_text())
            name = said["id"]
            if said["type"] == "batch":
                wrong = {"error": "invalid_message", "message": "no", "code": 400}
                await connection.send("connection_error", wrong, reply_to=name)
            elif name != "open":
                await connection.send("chat_receive", {"content": "x"}, reply_to=name)


@pytest.mark.parametrize(
    ("mode", "waits"),
    [
        pytest.param("session", False, id="session"),
        pytest.param("session", True, id="session, after the link was down"),
        pytest.param("shared", False, id="shared"),
        pytest.param("shared", True, id="shared, after the link was down"),
        pytest.param("dedicated", False, id="dedicated"),
    ],
)
async def test_what_is_in_a_batch_that_is_refused_is_not_awaited(
    stage: Stage, mode: str, waits: bool
) -> None:
    async with ScriptedUpstream(refuse_batches) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode, drain_s=60.0)
        peer, session = await stage.greeted(relay.url)
        await peer.socket.send_str(text("first"))
        await peer.message("chat_receive")
        if waits:
            mine = [each for each in upstream.connections if each.session_id == session][-1]
            await mine.cut()
            await peer.message("status_update")
        await peer.socket.send_str(batch("b", text("m1"), text("m2")))
        refusal = await peer.message("connection_error")
        assert refusal["metadata"]["reply_to"] == "b"
        assert relay.gauges().requests == 0
        draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
        async with asyncio.timeout(10.0):
            while (heard := await peer.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                assert json.loads(heard.data)["type"] == "status_update"
        assert heard.data == 1012
        await draining


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_what_was_asked_beside_it_still_is(stage: Stage, mode: str) -> None:
    async with ScriptedUpstream(refuse_batches) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer, _ = await stage.greeted(relay.url)
        await peer.socket.send_str(text("open"))
        await until(lambda: relay.gauges().requests == 1)
        await peer.socket.send_str(batch("b", text("m1")))
        await peer.message("connection_error")
        assert relay.gauges().requests == 1
