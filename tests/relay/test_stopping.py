"""A relay that stops: work under way finishes, and what does not is told by id."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, until
from tests.support.upstream import Connection, Gone, Keeping, ScriptedUpstream


async def drained_while_it_answers(
    stage: Stage,
) -> tuple[Gateway, Relay, Peer, asyncio.Task[None]]:
    """A relay that is being drained while the answer to `m1` is under way."""
    gateway = await stage.open_gateway(chunk_delay_s=0.06)
    relay = await stage.open_relay(gateway.url, drain_s=10.0)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="finish this")
    await peer.message("chat_stream")
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    await until(lambda: relay._draining)
    return gateway, relay, peer, draining


async def test_a_drain_lets_the_answer_under_way_finish_and_closes_with_1012(
    stage: Stage,
) -> None:
    gateway, relay, peer, draining = await drained_while_it_answers(stage)
    async with stage.http.get(f"{relay.admin_url}/readyz") as answer:
        assert answer.status == 503
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await stage.connect(relay.url)
    assert (await peer.message("chat_receive", limit_s=10))["metadata"]["reply_to"] == "m1"
    assert await peer.close_code() == 1012
    await draining
    await gateway.stop()


async def test_a_second_drain_leaves_the_first_its_time(stage: Stage) -> None:
    gateway, relay, peer, draining = await drained_while_it_answers(stage)
    await asyncio.wait_for(relay.drain(), 0.1)
    assert not draining.done()
    assert (await peer.message("chat_receive", limit_s=10))["metadata"]["reply_to"] == "m1"
    await draining
    await gateway.stop()


async def test_a_stop_while_it_stops_returns_when_it_has_stopped(stage: Stage) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    first = asyncio.get_running_loop().create_task(relay.stop(), name="stop")
    assert await peer.close_code() == 1012
    await asyncio.gather(*(relay.stop() for _ in range(20)))
    assert relay._stopped.is_set()
    await first
    await gateway.stop()


@pytest.mark.parametrize("mode", ["session", "shared"])
@pytest.mark.parametrize("at_once", [False, True])
async def test_what_is_open_when_the_relay_stops_is_told_by_id_before_the_close(
    stage: Stage, mode: str, at_once: bool
) -> None:
    async def never(connection: Connection) -> None:
        await connection.greet()
        await connection.until_gone()

    async with ScriptedUpstream(never) as upstream:
        limits = LimitSettings(messages_per_second=0.1, burst=1)
        relay = await stage.open_relay(upstream.url, mode=mode, drain_s=0.3, limits=limits)
        peer, _ = await stage.greeted(relay.url)
        for number in range(3):
            await peer.send("chat_send", f"m{number}", content="no answer")
        await until(lambda: relay.numbers.messages_to_upstream == 3)
        stopping = asyncio.ensure_future(relay.stop() if at_once else relay.drain())
        told = [await peer.message("connection_error") for _ in range(3)]
        assert [(each["payload"]["error"], each["metadata"]["reply_to"]) for each in told] == [
            ("delivery_unknown", "m0"),
            ("upstream_unavailable", "m1"),
            ("upstream_unavailable", "m2"),
        ]
        assert await peer.close_code() == 1012
        await stopping


async def test_what_waits_for_an_absent_upstream_when_the_relay_stops_is_told_by_id(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url, drain_s=0.3)
    peer, _ = await stage.greeted(relay.url)
    await gateway.stop()
    await peer.message("status_update")
    await peer.send("chat_send", "m1", content="never delivered")
    await until(lambda: relay.gauges().waiting_to_upstream == 1)
    stopping = asyncio.ensure_future(relay.drain())
    refusal = await peer.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (503, "m1")
    assert "the relay stopped" in refusal["payload"]["message"]
    assert await peer.close_code() == 1012
    await stopping


@pytest.mark.parametrize("batched", [False, True])
async def test_clients_that_go_on_asking_hear_of_everything_whether_it_went_up(
    stage: Stage, batched: bool
) -> None:
    """There is never a moment in which nothing is open, and yet nothing ends in doubt."""
    heard: list[str] = []

    async def answers_late(connection: Connection) -> None:
        async def answer(name: str) -> None:
            await asyncio.sleep(0.1)
            await connection.send("chat_receive", {"content": "yes"}, reply_to=name)

        await connection.greet()
        async with asyncio.TaskGroup() as answering:
            while not connection.socket.closed:
                try:
                    message = await connection.receive()
                except Gone:
                    return
                for each in message["payload"]["messages"] if batched else [message]:
                    heard.append(each["id"])
                    answering.create_task(answer(each["id"]))

    async with ScriptedUpstream(answers_late) as upstream:
        relay = await stage.open_relay(upstream.url, drain_s=3.0)
        peer, _ = await stage.greeted(relay.url)
        ends: dict[str, list[str]] = {}

        async def ask() -> None:
            for number in range(1000):
                name = f"m{number}"
                ends[name] = []
                if batched:
                    inner = {"id": name, "type": "chat_send", "payload": {"content": "x"}}
                    await peer.send("batch", f"b{number}", messages=[inner])
                else:
                    await peer.send("chat_send", name, content="x")
                await asyncio.sleep(0.02)

        asking = asyncio.ensure_future(ask())
        await until(lambda: len(heard) > 5)
        draining = asyncio.ensure_future(relay.drain())
        async for said in peer.socket:
            message = json.loads(said.data)
            asked = (message.get("metadata") or {}).get("reply_to")
            if asked in ends:
                ends[asked].append(message["payload"].get("error", "reply"))
        asking.cancel()
        await draining
        refused = [name for name, end in ends.items() if end == ["upstream_unavailable"]]
        assert refused
        assert not set(refused) & set(heard)
        assert all(ends[name] == ["reply"] for name in heard)


async def test_what_comes_with_the_goodbye_of_a_relay_that_stops_is_not_sent_on(
    stage: Stage,
) -> None:
    """It may lie read when the relay says goodbye, and nobody could tell what became of it."""
    upstream_script = Keeping()
    async with ScriptedUpstream(upstream_script) as upstream:
        relay = await stage.open_relay(upstream.url)
        await stage.greeted(relay.url)
        (client,), (session,) = relay.local_clients, relay.sessions
        take = session.sink(client)
        text = b'{"id":"m1","type":"chat_send","payload":{"content":"x"}}'
        take([text], False)
        await until(lambda: upstream_script.got)
        client.close(1012, "the relay stops")
        take([text], False)
        await asyncio.sleep(0.1)
        assert len(upstream_script.got) == relay.numbers.messages_to_upstream == 1
