"""What is asked, or answered, in a batch through a pair is known as what comes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import Any

import aiohttp
import pytest

from megabot_cli.config.schema import LimitSettings
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, until
from tests.relay.test_dedicated import open_relay
from tests.relay.test_dedicated_stopping import batch, in_its_last_moment, refused, text, told
from tests.support.upstream import Connection, Gone, ScriptedUpstream


class Answering:
    """An upstream that answers what is called `good` alone, in a batch too, by id; in batches
    itself where it is told to."""

    def __init__(self, *, in_batches: bool = False) -> None:
        self._in_batches = in_batches

    async def __call__(self, connection: Connection) -> None:
        with contextlib.suppress(Gone):
            while True:
                data = await connection.receive_text()
                plain = gzip.decompress(data) if isinstance(data, bytes) else data
                said = json.loads(plain)
                asked = said["payload"]["messages"] if said["type"] == "batch" else [said]
                await self._answer(connection, [e["id"] for e in asked if "good" in e["id"]])

    async def _answer(self, connection: Connection, names: list[str]) -> None:
        answers: list[dict[str, Any]] = [
            {
                "id": f"answer-{name}",
                "type": "chat_receive",
                "payload": {"content": "x"},
                "metadata": {"reply_to": name},
            }
            for name in names
        ]
        if self._in_batches:
            await connection.send("batch", {"messages": answers})
            return
        for answer in answers:
            await connection.send_text(json.dumps(answer))


def draining(relay: Relay) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(relay.drain(), name="drain")


async def nothing_but_the_end(peer: Peer) -> None:
    """The relay closes without a word of anything that was open."""
    closed = await peer.socket.receive(10.0)
    assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1012)


@pytest.mark.parametrize("folded", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("validation", ["warn", "off"])
async def test_what_was_asked_in_a_batch_and_not_answered_is_told_by_id(
    stage: Stage, validation: str, folded: bool
) -> None:
    async with ScriptedUpstream(Answering()) as upstream:
        looks = {"validation": validation, "flight_recorder_s": 60.0 if validation == "off" else 0}
        relay = await open_relay(stage, upstream.url, drain_s=0.4, **looks)
        query = {"compression": "gzip"} if folded else {}
        peer = await stage.connect(relay.url, query=query)
        tells = text("n", "notification", title="asks nothing")
        asked = batch("b", text("m1"), text("good"), tells, batch("c", text("m2")))
        if folded:
            await peer.socket.send_bytes(gzip.compress(asked.encode()))
        else:
            await peer.socket.send_str(asked)
        await until(lambda: relay.main.pairs[0].received == 1 and relay.gauges().requests == 2)
        ending = draining(relay)
        assert await told(peer, 2) == [("delivery_unknown", "m1"), ("delivery_unknown", "m2")]
        assert await peer.close_code() == 1012
        await ending
        assert relay.numbers.delivery_unknown == 2


async def test_what_is_answered_in_a_batch_is_no_longer_open(stage: Stage) -> None:
    async with ScriptedUpstream(Answering(in_batches=True)) as upstream:
        relay = await open_relay(stage, upstream.url, drain_s=60.0)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str(text("good1"))
        await peer.socket.send_str(batch("b", text("good2"), text("good3")))
        await peer.message("batch")
        await peer.message("batch")
        assert relay.gauges().requests == 0
        ending = draining(relay)
        await nothing_but_the_end(peer)  # and not after a minute
        await ending


async def test_what_waits_for_the_rate_limit_in_a_batch_is_told_once(stage: Stage) -> None:
    async with ScriptedUpstream(Answering()) as upstream:
        limits = LimitSettings(messages_per_second=0.1, burst=1)
        relay = await open_relay(stage, upstream.url, drain_s=0.4, limits=limits)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str(text("m0"))
        await peer.socket.send_str(batch("b", text("m1"), text("m2")))
        await until(lambda: relay.gauges().requests == 3)
        ending = draining(relay)
        assert await told(peer, 1) == [("delivery_unknown", "m0")]
        assert await refused(peer, 3) == ["b", "m1", "m2"]
        await nothing_but_the_end(peer)
        await ending


async def test_what_is_refused_of_a_batch_in_the_last_moment_is_not_open(stage: Stage) -> None:
    async with ScriptedUpstream(Answering()) as upstream:
        relay = await open_relay(stage, upstream.url, drain_s=2.0)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str(text("m0"))
        await until(lambda: relay.gauges().requests == 1)
        ending = await in_its_last_moment(relay)
        await peer.socket.send_str(batch("b", text("m1"), text("m2")))
        assert await refused(peer, 2) == ["m1", "m2"]
        assert await told(peer, 1) == [("delivery_unknown", "m0")]
        await nothing_but_the_end(peer)
        await ending
