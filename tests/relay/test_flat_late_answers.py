"""A flat upstream that many clients share, and that answers when nobody waits any longer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from megabot_cli.relay import upward
from tests.relay.conftest import Peer, Stage, hears_nothing, until


def asks(content: str) -> str:
    return json.dumps({"type": "message", "content": content})


class Hand:
    """An upstream of the flat dialect that answers when it is told to."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.socket: web.WebSocketResponse | None = None

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        self.socket = socket = web.WebSocketResponse()
        await socket.prepare(request)
        await self.say("hello")
        async for message in socket:
            self.heard.append(json.loads(message.data)["content"])
        return socket

    async def say(self, content: str) -> None:
        assert self.socket is not None
        await self.socket.send_str(asks(content))

    async def answer(self, question: str) -> None:
        await until(lambda: question in self.heard)
        await self.say(f"to {question}")


@pytest.fixture
async def hand(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Hand, str]]:
    monkeypatch.setattr(upward, "HOLD_S", 0.3)
    hand = Hand()
    app = web.Application()
    app.router.add_get("/ws", hand.serve)
    server = TestServer(app)
    await server.start_server()
    try:
        yield hand, f"ws://127.0.0.1:{server.port}/ws"
    finally:
        if hand.socket is not None:
            await hand.socket.close()
        await server.close()


async def three_at(stage: Stage, url: str) -> list[Peer]:
    relay = await stage.open_relay(
        url, secret="a-static-token", dialect="flat", mode="shared", validation="off"
    )
    peers = [await stage.connect(relay.url) for _ in range(3)]
    for peer in peers:
        await peer.message()
    return peers


async def one_is_slow(stage: Stage, hand: tuple[Hand, str]) -> tuple[Hand, list[Peer]]:
    """Three peers: the second has had an answer, the first asks something that takes long."""
    upstream, url = hand
    peers = await three_at(stage, url)
    await peers[1].socket.send_str(asks("0"))
    await upstream.answer("0")
    assert (await peers[1].message())["content"] == "to 0"
    await peers[0].socket.send_str(asks("slow"))
    await until(lambda: "slow" in upstream.heard)
    return upstream, peers


async def test_what_may_answer_one_that_nobody_waits_for_any_longer_is_for_everybody(
    stage: Stage, hand: tuple[Hand, str]
) -> None:
    upstream, (slow, second, third) = await one_is_slow(stage, hand)
    await second.socket.send_str(asks("1"))
    await until(lambda: "1" in upstream.heard)  # it has waited long enough
    await third.socket.send_str(asks("2"))
    await upstream.answer("slow")
    await upstream.answer("1")
    await upstream.answer("2")
    for peer in (slow, second, third):
        heard = [(await peer.message())["content"] for _ in range(3)]
        assert heard == ["to slow", "to 1", "to 2"]
    # All that was open is answered, and what is whose is certain again.
    await third.socket.send_str(asks("3"))
    await upstream.answer("3")
    assert (await third.message())["content"] == "to 3"
    assert await hears_nothing(slow)
    assert await hears_nothing(second)


async def test_a_late_answer_goes_to_its_asker_where_it_can_be_no_other(
    stage: Stage, hand: tuple[Hand, str]
) -> None:
    upstream, (slow, second, _) = await one_is_slow(stage, hand)
    await second.socket.send_str(json.dumps({"type": "set_mode", "content": "m", "mode": "m"}))
    await until(lambda: "m" in upstream.heard)
    await upstream.answer("slow")
    assert (await slow.message())["content"] == "to slow"
    assert upstream.socket is not None
    await upstream.socket.send_str('{"type":"mode_updated","mode":"m"}')
    assert (await second.message())["type"] == "mode_updated"
    assert await hears_nothing(slow)


async def test_what_was_given_up_on_a_line_that_fell_is_not_reckoned_with_any_more(
    stage: Stage, hand: tuple[Hand, str]
) -> None:
    upstream, (slow, second, _) = await one_is_slow(stage, hand)
    await second.socket.send_str(asks("1"))
    await upstream.answer("1")
    for peer in (slow, second):
        assert (await peer.message())["content"] == "to 1"
    assert upstream.socket is not None
    await upstream.socket.close()
    await second.message("status_update")
    await second.message("status_update")
    await second.socket.send_str(asks("2"))
    await upstream.answer("2")
    assert (await second.message())["content"] == "to 2"
    assert [(await slow.message())["type"] for _ in range(2)] == ["status_update"] * 2
    assert await hears_nothing(slow)


async def test_one_that_was_given_up_hears_that_nobody_knows_when_the_line_falls(
    stage: Stage, hand: tuple[Hand, str]
) -> None:
    upstream, (slow, second, _) = await one_is_slow(stage, hand)
    await second.socket.send_str(json.dumps({"type": "set_mode", "content": "m", "mode": "m"}))
    await until(lambda: "m" in upstream.heard)
    assert upstream.socket is not None
    await upstream.socket.send_str('{"type":"mode_updated","mode":"m"}')
    assert (await second.message())["type"] == "mode_updated"
    await upstream.socket.close()
    unknown = await slow.message("connection_error")
    assert unknown["payload"]["error"] == "delivery_unknown"
    for _ in range(2):
        assert (await second.message())["type"] == "status_update"
    assert await hears_nothing(second)


async def test_a_decision_that_is_told_late_is_for_everybody_all_the_same(
    stage: Stage, hand: tuple[Hand, str]
) -> None:
    upstream, url = hand
    first, second, third = await three_at(stage, url)
    await second.socket.send_str(asks("0"))
    await upstream.answer("0")
    await second.message()
    decision = {"type": "reject_action", "action_id": "1", "content": "decision"}
    await first.socket.send_str(json.dumps(decision))
    await second.socket.send_str(json.dumps({"type": "set_mode", "content": "m", "mode": "m"}))
    await until(lambda: "m" in upstream.heard)  # the decision is not waited for any longer
    assert upstream.socket is not None
    await upstream.socket.send_str('{"type":"status","content":"Rejected"}')
    for peer in (first, second, third):
        assert (await peer.message())["content"] == "Rejected"
