"""`shared` mode: who comes back gets the answers that were for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, hears_nothing, until
from tests.relay.test_shared import open_relay
from tests.support.upstream import Connection, ScriptedUpstream


async def test_an_asker_that_comes_back_under_its_name_gets_its_answer(stage: Stage) -> None:
    answer = asyncio.Event()

    async def answer_late(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        await answer.wait()
        await connection.send("chat_receive", {"content": "late"}, reply_to=question["id"])
        await connection.until_gone()

    async with ScriptedUpstream(answer_late) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await stage.greeted(relay.url, client_id="ada")
        await first.send("chat_send", "m1", content="one")
        await until(lambda: relay.numbers.messages_to_upstream == 1)
        await first.socket.close()
        await until(lambda: relay.gauges().clients == 0)
        answer.set()
        await until(lambda: relay.numbers.messages_to_client >= 1)
        again = await stage.connect(relay.url, query={"client_id": "ada"})
        greeting = await again.message("connection_established")
        assert greeting["metadata"]["megabot"]["recovered"] is True
        assert (await again.message())["payload"]["content"] == "late"
        other = await stage.connect(relay.url, query={"cursor": "epoch:0"})
        await other.message("connection_established")
        assert await hears_nothing(other)


class Slow:
    """An upstream that answers, and tells everybody something, when it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        while True:
            question = await connection.receive()
            await self.may_answer.acquire()
            await connection.send("chat_receive", {"content": "x"}, reply_to=question["id"])
            await connection.send("notification", {"title": question["id"]})


async def marked(stage: Stage, relay: Relay, **query: str) -> tuple[Peer, dict[str, Any]]:
    """A client that reads the corner, and what its greeting says there."""
    peer = await stage.connect(relay.url, query=query, protocols=("megabot.relay.v1",))
    greeting = await peer.message("connection_established")
    corner: dict[str, Any] = greeting["metadata"]["megabot"]
    return peer, corner


async def test_a_cursor_alone_tells_nobody_whose_answers_were_missed(stage: Stage) -> None:
    script = Slow()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, corner = await marked(stage, relay)
        await first.send("chat_send", "m1", content="one")
        await until(lambda: relay.numbers.messages_to_upstream == 1)
        await first.socket.close()
        await until(lambda: relay.gauges().clients == 0)
        script.may_answer.release()
        await until(lambda: relay.numbers.messages_to_client == 2)
        again, verdict = await marked(stage, relay, cursor=corner["cursor"])
        assert (verdict["recovered"], verdict["reason"]) == (False, "unknown")
        after = (await again.message("notification"))["metadata"]["megabot"]["cursor"]
        _, verdict = await marked(stage, relay, cursor=after)
        assert verdict["recovered"] is True


async def test_what_was_for_clients_with_a_name_is_no_loss_of_one_without(stage: Stage) -> None:
    script = Slow()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, corner = await marked(stage, relay)
        named, _ = await marked(stage, relay, client_id="ada")
        await named.send("chat_send", "m1", content="one")
        script.may_answer.release()
        await named.message("notification")
        await first.socket.close()
        await named.socket.close()
        await until(lambda: relay.gauges().clients == 0)
        again, verdict = await marked(stage, relay, cursor=corner["cursor"])
        assert verdict["recovered"] is True
        assert (await again.message())["type"] == "notification"


async def test_a_client_that_was_closed_with_a_cursor_goes_on_by_it_as_itself(stage: Stage) -> None:
    script = Slow()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url)
        first, _ = await marked(stage, relay)
        for name in ("m1", "m2"):
            await first.send("chat_send", name, content="x")
        await until(lambda: relay.numbers.messages_to_upstream == 2)
        relay.local_clients[0].fell_silent()
        closing = await first.socket.receive()
        assert closing.type.name == "CLOSE"
        cursor = str(closing.extra).split()[0].removeprefix("cursor=")
        await until(lambda: relay.gauges().clients == 0)
        script.may_answer.release()
        await until(lambda: relay.numbers.messages_to_client == 2)
        again, verdict = await marked(stage, relay, cursor=cursor)
        assert verdict["recovered"] is True
        assert (await again.message())["metadata"]["reply_to"] == "m1"
        other, verdict = await marked(stage, relay, cursor=cursor.partition("@")[0])
        assert verdict["reason"] == "unknown"
        await other.message("notification")
        script.may_answer.release()
        await again.message("notification")
        assert (await again.message())["metadata"]["reply_to"] == "m2"
        assert (await other.message())["type"] == "notification"


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_the_same_name_twice_replaces_the_first(
    stage: Stage, gateway: Gateway, mode: str
) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    first, session = await stage.greeted(relay.url, client_id="ada")
    second, _ = await stage.greeted(relay.url, session, client_id="ada")
    assert await first.close_code() == 4503
    await second.send("chat_send", "m1", content="still here")
    assert await second.message("chat_receive")
