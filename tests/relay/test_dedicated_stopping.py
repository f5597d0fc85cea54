"""A dedicated client of a relay that stops hears of each thing that it asked too late."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, until
from tests.relay.test_dedicated import open_relay
from tests.support.upstream import Connection, Gone, ScriptedUpstream


class Chatty:
    """An upstream that answers nothing, keeps what it gets, and is never at rest."""

    def __init__(self) -> None:
        self.got: list[str | bytes] = []

    async def __call__(self, connection: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            talking = group.create_task(self._talk(connection))
            try:
                while True:
                    self.got.append(await connection.receive_text())
            except Gone:
                talking.cancel()

    async def _talk(self, connection: Connection) -> None:
        with contextlib.suppress(Gone):
            while True:
                await connection.send("notification", {"title": "x"})
                await asyncio.sleep(0.1)


def text(name: str, kind: str = "chat_send", **payload: Any) -> str:
    return json.dumps({"id": name, "type": kind, "payload": payload or {"content": "x"}})


def batch(name: str, *inner: str) -> str:
    messages = ",".join(inner)
    return f'{{"id":"{name}","type":"batch","payload":{{"messages":[{messages}]}}}}'


def result(name: str) -> str:
    return text(name, "tool_result", execution_id="e", status="success", result=1)


async def refused(peer: Peer, count: int) -> list[str]:
    """What the next refusals are of."""
    errors = [await peer.message("connection_error") for _ in range(count)]
    for error in errors:
        payload = error["payload"]
        assert (payload["code"], payload["error"]) == (503, "upstream_unavailable")
        assert payload["message"].startswith("not delivered: ")
    return [str(error["metadata"]["reply_to"]) for error in errors]


async def in_its_last_moment(relay: Relay) -> asyncio.Task[None]:
    """It drains, and takes nothing new any more."""
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    await until(lambda: relay.main.parts.stopping)
    return draining


@pytest.mark.parametrize("validation", ["off", "warn", "strict"])
async def test_in_the_last_moment_what_asks_is_refused_by_id_and_results_go_on(
    stage: Stage, validation: str
) -> None:
    chatty = Chatty()
    async with ScriptedUpstream(chatty) as upstream:
        relay = await open_relay(stage, upstream.url, drain_s=2.0, validation=validation)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str(text("before"))
        draining = await in_its_last_moment(relay)
        await peer.socket.send_str(text("late"))
        await peer.socket.send_str(result("r1"))
        await peer.socket.send_str(batch("b", text("b1"), result("r2")))
        await peer.socket.send_str(batch("c", result("r3"), result("r4")))
        await peer.socket.send_str(text("later"))
        assert await refused(peer, 3) == ["late", "b1", "later"]
        assert await peer.close_code() == 1012
        await draining
        going = [result("r1"), result("r2"), batch("c", result("r3"), result("r4"))]
        assert chatty.got == [text("before"), *going]


@pytest.mark.parametrize(
    "said", ["plain words", '{"type":"message","content":"flat"}', '{"id":"7","result":1}']
)
async def test_of_what_nobody_could_be_told_by_id_nothing_is_held_back(
    stage: Stage, said: str
) -> None:
    chatty = Chatty()
    async with ScriptedUpstream(chatty) as upstream:
        relay = await open_relay(stage, upstream.url, drain_s=2.0)
        peer = await stage.connect(relay.url)
        draining = await in_its_last_moment(relay)
        await peer.socket.send_str(said)
        await peer.socket.send_bytes(b"\x00\x01")
        assert await peer.close_code() == 1012
        await draining
        assert chatty.got == [said, b"\x00\x01"]


async def test_what_comes_as_gzip_is_looked_into_where_the_two_agreed_on_it(stage: Stage) -> None:
    chatty = Chatty()
    async with ScriptedUpstream(chatty) as upstream:
        relay = await open_relay(stage, upstream.url, drain_s=2.0)
        peer = await stage.connect(relay.url, query={"compression": "gzip"})
        draining = await in_its_last_moment(relay)
        for each in (text("late"), batch("b", text("b1"), result("r1"))):
            await peer.socket.send_bytes(gzip.compress(each.encode()))
        assert await refused(peer, 2) == ["late", "b1"]
        assert await peer.close_code() == 1012
        await draining
        (gone_up,) = chatty.got
        assert isinstance(gone_up, bytes)
        assert gzip.decompress(gone_up).decode() == result("r1")


async def test_who_is_braked_by_the_rate_limit_is_read_in_the_last_moment(stage: Stage) -> None:
    """What waits is answered at the end, and what lay unread before that."""
    chatty = Chatty()
    async with ScriptedUpstream(chatty) as upstream:
        limits = LimitSettings(messages_per_second=0.1, burst=1, queue=3)
        relay = await open_relay(stage, upstream.url, drain_s=2.0, limits=limits)
        peer = await stage.connect(relay.url)
        for number in range(4):
            await peer.socket.send_str(text(f"m{number}"))
        await until(lambda: relay.pairs[0]._up.braked)
        for number in range(4, 8):
            await peer.socket.send_str(text(f"m{number}"))
        draining = asyncio.ensure_future(relay.drain())
        assert await refused(peer, 4) == ["m4", "m5", "m6", "m7"]
        assert await told(peer, 1) == [("delivery_unknown", "m0")]
        assert await refused(peer, 3) == ["m1", "m2", "m3"]
        assert await peer.close_code() == 1012
        await draining
        assert chatty.got == [text("m0")]
        assert relay.numbers.drops["rate_limit"] == 3


async def test_what_waits_for_the_rate_limit_when_the_upstream_ends_is_told_by_id(
    stage: Stage,
) -> None:
    async def leave(connection: Connection) -> None:
        await connection.receive_text()
        await connection.receive_text()
        await connection.close(4321, "enough")

    async with ScriptedUpstream(leave) as upstream:
        limits = LimitSettings(messages_per_second=2, burst=1)
        relay = await open_relay(stage, upstream.url, limits=limits)
        peer = await stage.connect(relay.url)
        for each in (text("m0"), text("m1"), "no id", text("m2"), batch("b", text("b1"))):
            await peer.socket.send_str(each)
        assert await refused(peer, 3) == ["m2", "b", "b1"]
        assert await peer.close_code() == 4321
        assert relay.numbers.drops["rate_limit"] == 3


async def told(peer: Peer, count: int) -> list[tuple[str, str]]:
    """What the next errors say, and of which message."""
    errors = [await peer.message("connection_error") for _ in range(count)]
    return [(each["payload"]["error"], each["metadata"]["reply_to"]) for each in errors]


class Answering:
    """An upstream that answers what is called `good` alone, by id."""

    async def __call__(self, connection: Connection) -> None:
        with contextlib.suppress(Gone):
            while True:
                name = (await connection.receive())["id"]
                if name.startswith("good"):
                    await connection.send("chat_receive", {"content": "x"}, reply_to=name)


@pytest.mark.parametrize("looks", ["validation", "recording", "ring"])
async def test_what_was_not_answered_when_the_relay_ends_is_told_by_id_as_far_as_it_was_seen(
    stage: Stage, looks: str
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "validation": {"validation": "warn"},
        "recording": {"record": True},
        "ring": {"flight_recorder_s": 60.0},
    }
    async with ScriptedUpstream(Answering()) as upstream:
        limits = LimitSettings(messages_per_second=0.1, burst=5)
        settings = {"validation": "off", "drain_s": 0.4, "limits": limits, **ways[looks]}
        relay = await open_relay(stage, upstream.url, **settings)
        peer = await stage.connect(relay.url)
        for each in ("good1", "m1", "good2", "m2"):
            await peer.socket.send_str(text(each))
        await peer.socket.send_str(text("n", "notification", title="asks nothing"))
        await peer.socket.send_str(text("m3"))  # and waits for the rate limit
        await until(lambda: relay.main.pairs[0].received == 2 and relay.gauges().requests == 3)
        draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
        assert await told(peer, 3) == [
            ("delivery_unknown", "m1"),
            ("delivery_unknown", "m2"),
            ("upstream_unavailable", "m3"),
        ]
        assert await peer.close_code() == 1012
        await draining
        assert relay.numbers.delivery_unknown == 2


async def test_what_was_not_answered_when_an_operator_closes_a_client_is_told_by_id(
    stage: Stage,
) -> None:
    async with ScriptedUpstream(Answering()) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str(text("m1"))
        await until(lambda: relay.gauges().requests == 1)
        relay.operations.close(relay.main.pairs[0].client_id, CloseCode.NORMAL, "enough")
        assert await told(peer, 1) == [("delivery_unknown", "m1")]
        assert await peer.close_code() == 1000


async def test_a_session_that_an_operator_names_is_that_of_its_clients(
    stage: Stage, gateway: Gateway
) -> None:
    """`relay clients` shows its name, though each of them has a link of its own."""
    relay = await open_relay(stage, gateway.url)
    peer, session = await stage.greeted(relay.url)
    fellow, _ = await stage.greeted(relay.url, session)
    other, _ = await stage.greeted(relay.url)
    assert relay.operations.close(session, CloseCode.GOING_AWAY, "enough") == "session"
    assert [await each.close_code() for each in (peer, fellow)] == [1001, 1001]
    await until(lambda: relay.gauges().clients == 1)
    assert not other.socket.closed


async def test_a_drain_says_how_many_clients_it_ends(stage: Stage, gateway: Gateway) -> None:
    relay = await open_relay(stage, gateway.url)
    peer, _ = await stage.greeted(relay.url)
    with capture_logs() as logs:
        draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
        assert await peer.close_code() == 1012
        await draining
    assert [each["clients"] for each in logs if each["event"] == "relay.draining"] == [1]


async def test_what_a_tap_saw_asked_and_not_answered_for_it_had_left_is_not_taken_to_be_open(
    stage: Stage,
) -> None:
    async with ScriptedUpstream(Answering()) as upstream:
        relay = await open_relay(stage, upstream.url, validation="off", drain_s=60.0)
        peer = await stage.connect(relay.url)
        relay.main.parts.witness.show_messages(True)
        await peer.socket.send_str(text("m1"))
        await until(lambda: relay.main.pairs[0].sent == 1)
        relay.main.parts.witness.show_messages(False)
        await upstream.connections[-1].send("chat_receive", {"content": "x"}, reply_to="m1")
        assert (await peer.message())["type"] == "chat_receive"
        draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
        closed = await peer.socket.receive(10.0)  # and not after a minute
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1012)
        await draining


async def test_who_is_let_in_at_that_very_moment_is_refused_by_id_too(stage: Stage) -> None:
    chatty = Chatty()
    async with ScriptedUpstream(chatty) as upstream:
        relay = await open_relay(stage, upstream.url)
        relay.main.take_no_more()
        peer = await stage.connect(relay.url)
        await peer.socket.send_str(text("late"))
        assert await refused(peer, 1) == ["late"]
        assert not chatty.got
