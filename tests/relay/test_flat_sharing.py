"""Many clients on one link to an upstream of the flat dialect: whose an answer is, and an error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from megabot_cli.config.schema import LimitSettings, OutboxSettings
from megabot_cli.gateway.flat import FlatGateway
from megabot_cli.relay import upward
from megabot_cli.relay.overview import slowest_replies
from tests.client.test_flat import upstream as talking
from tests.relay.conftest import Stage, hears_nothing, until
from tests.relay.flat_upstreams import TOKEN, greeted, open_relay, open_upstream, recorded, said


@pytest.fixture
async def upstream() -> AsyncIterator[FlatGateway]:
    gateway = await open_upstream()
    yield gateway
    await gateway.stop()


def asks(content: str) -> str:
    return json.dumps({"type": "message", "content": content})


async def test_each_of_many_that_ask_at_once_hears_its_own_answer_alone(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream, mode="shared")
    peers = [await greeted(stage, relay.url) for _ in range(5)]
    for number, peer in enumerate(peers):
        await peer.socket.send_str(asks(f"first of {number}"))
        await peer.socket.send_str(asks(f"second of {number}"))
    for number, peer in enumerate(peers):
        for said_then in ("first", "second"):
            answer = await peer.message()
            assert answer["content"].startswith(f"You said “{said_then} of {number}”")
    assert await hears_nothing(peers[0])
    assert relay.numbers.routes["fifo"] == 10


async def test_a_refusal_is_for_whom_it_refuses_and_lets_the_next_one_go(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream, mode="shared")
    asker, fellow = await greeted(stage, relay.url), await greeted(stage, relay.url)
    await asker.socket.send_str("nobody knows this")
    await fellow.socket.send_str(asks("hi"))
    assert (await asker.text()).startswith("Error 400:")
    assert (await fellow.message())["content"].startswith("You said “hi”")
    assert await hears_nothing(asker)


@pytest.mark.parametrize("message_type", ["tool_result", "batch"])
async def test_what_only_envelopes_have_waits_for_its_turn_as_any_other_request(
    stage: Stage, message_type: str
) -> None:
    upstream = await open_upstream(latency_s=0.2)
    try:
        relay = await open_relay(stage, upstream, mode="shared")
        asker, fellow = await greeted(stage, relay.url), await greeted(stage, relay.url)
        await asker.socket.send_str(asks("hi"))
        await until(lambda: relay.gauges().requests == 1)
        inner = [{"id": str(n), "type": "chat_send", "payload": {"content": "x"}} for n in range(3)]
        payload = {"execution_id": "exec_1", "status": "completed", "messages": inner}
        await fellow.send(message_type, "m1", **payload)
        assert (await asker.message())["content"].startswith("You said “hi”")
        assert (await fellow.text()).startswith("Error 400: $.type")
        assert await hears_nothing(asker)
        assert await hears_nothing(fellow)
        assert relay.gauges().requests == 0
    finally:
        await upstream.stop()


async def test_the_names_that_requests_have_in_the_relay_are_told_nobody(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream, mode="shared", wait_s=0.1, record=True)
    peer = await greeted(stage, relay.url)
    await said(peer, asks("hi"))
    assert [each["id"] for each in slowest_replies(relay)] == [None]
    await upstream.stop()
    await peer.message("status_update")
    await peer.socket.send_str(asks("in vain"))
    await peer.message("connection_error")
    await relay.stop()
    notes = [record.note for record in recorded(stage) if record.kind == "drop"]
    assert [str(note).rpartition("; ")[2] for note in notes] == ["message without id"]


async def test_what_was_decided_on_an_action_is_told_to_everybody(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream, mode="shared")
    asker, fellow = await greeted(stage, relay.url), await greeted(stage, relay.url)
    queued = await said(asker, '{"type":"command","command":"ls"}')
    assert queued["content"] == "Command queued for approval: ls"
    actions = {(await peer.message())["action"]["id"] for peer in (asker, fellow)}
    (action,) = actions
    await asker.socket.send_str(json.dumps({"type": "reject_action", "action_id": action}))
    told = [(await peer.message())["content"] for peer in (asker, fellow)]
    assert told == ["Rejected: ls"] * 2


async def test_who_was_not_answered_when_the_link_fell_hears_that_it_is_not_known(
    stage: Stage,
) -> None:
    first = await open_upstream(latency_s=30)
    relay = await open_relay(stage, first, mode="shared")
    asker, fellow = await greeted(stage, relay.url), await greeted(stage, relay.url)
    await asker.socket.send_str(asks("before"))
    await until(lambda: relay.gauges().requests == 1)
    await fellow.socket.send_str(asks("held back"))
    await first.stop()
    second = await open_upstream(first.port)
    try:
        unknown = await asker.message("connection_error", limit_s=15)
        assert unknown["payload"]["error"] == "delivery_unknown"
        assert "metadata" not in unknown  # for it would name what nobody has sent
        answer = await fellow.message("message")
        assert answer["content"].startswith("You said “held back”")
    finally:
        await second.stop()


@pytest.mark.parametrize("mode", ["shared", "session"])
async def test_an_error_that_a_slow_client_had_not_read_is_told_when_it_is_back(
    stage: Stage, mode: str
) -> None:
    """No id can name what was refused; that something was it hears all the same."""

    async def pour(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"type":"message","content":"hello"}')
        await socket.receive()
        for _ in range(30):
            await socket.send_str(json.dumps({"type": "news", "content": "y" * 500_000}))
        await socket.receive()

    async with talking(pour) as url:
        relay = await stage.open_relay(
            url,
            secret=TOKEN,
            dialect="flat",
            mode=mode,
            limits=LimitSettings(messages_per_second=0.1, burst=1, queue=1),
            outbox=OutboxSettings(stall_s=1.0, bytes=50_000_000),
        )
        place = {"session_id": "s1", "client_id": "ada"}
        ada = await stage.connect(relay.url, query=place)
        await ada.message()
        transport = ada.socket._response.connection.transport  # type: ignore[union-attr]
        assert transport is not None
        transport.pause_reading()
        await ada.socket.send_str(asks("leaves"))
        await until(lambda: relay.local_clients[0].outbox.waiting_messages > 1)
        await ada.socket.send_str(asks("waits"))
        await ada.socket.send_str(asks("is one too many"))
        await until(lambda: relay.numbers.clients_closed[4008] == 1, limit_s=10)
        transport.abort()
        back = await stage.connect(relay.url, query=place)
        refused = await back.message("connection_error")
        assert refused["payload"]["code"] == 429
        assert "reply_to" not in refused.get("metadata", {})
        await back.socket.close()
        await until(lambda: not relay.gauges().clients)
        again = await stage.connect(relay.url, query=place)  # and it is told once
        await again.message("status")
        with pytest.raises(TimeoutError):
            await again.message("connection_error", 0.2)
        await relay.stop()


async def test_where_no_answer_is_understood_everybody_hears_everything_soon(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upward, "HOLD_S", 1.0)

    async def odd(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"type":"message","content":"hello"}')
        async for message in socket:
            await socket.send_str(json.dumps({"type": "said", "of": json.loads(message.data)}))

    async with talking(odd) as url:
        relay = await stage.open_relay(
            url, secret=TOKEN, dialect="flat", mode="shared", validation="off"
        )
        peers = [await stage.connect(relay.url) for _ in range(2)]
        for peer in peers:
            await peer.message()
        for number in range(4):  # the second waits; from then on none does
            await peers[number % 2].socket.send_str(asks(str(number)))
        for peer in peers:
            heard = [(await peer.message())["of"]["content"] for _ in range(4)]
            assert sorted(heard) == ["0", "1", "2", "3"]
        began = asyncio.get_running_loop().time()
        for number in range(10):
            await peers[number % 2].socket.send_str(asks(str(number)))
        for peer in peers:
            for _ in range(10):
                await peer.message()
        assert asyncio.get_running_loop().time() - began < 1.0
        await relay.stop()
