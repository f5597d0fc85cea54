"""`dedicated` mode: a client and its own upstream connection, joined transparently."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from megabot_cli.config.schema import LimitSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.server import Relay
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Peer, Stage, until
from tests.relay.echo_upstream import echo_upstream
from tests.support.upstream import Connection, ScriptedUpstream

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


async def wait_for_goodbye(connection: Connection) -> None:
    await connection.until_gone()


async def echo(connection: Connection) -> None:
    while True:
        data = await connection.receive_text()
        if isinstance(data, str):
            await connection.send_text(data)
        else:
            await connection.send_bytes(data)


async def open_relay(stage: Stage, url: str, **options: object) -> Relay:
    return await stage.open_relay(url, mode="dedicated", **options)  # type: ignore[arg-type]


async def test_each_client_has_an_upstream_connection_of_its_own(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_relay(stage, gateway.url)
    _, first = await stage.greeted(relay.url)
    _, second = await stage.greeted(relay.url)
    assert first != second
    assert gateway.connection_count == 2


async def test_nothing_is_required_of_the_upstream_not_even_a_credential(stage: Stage) -> None:
    async with ScriptedUpstream(echo) as upstream:
        relay = await open_relay(stage, upstream.url, anonymous=True)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str("plain words")
        assert await peer.text() == "plain words"
        assert "Authorization" not in upstream.requests[-1].headers


@pytest.mark.parametrize("text", ["", "é", '{ "id" : 1 }', "x" * 70_000, '{"id":"a","type":"b"}'])
async def test_text_of_any_kind_passes_unchanged(stage: Stage, text: str) -> None:
    async with ScriptedUpstream(echo) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str(text)
        assert await peer.text() == text


async def test_binary_passes_unchanged(stage: Stage) -> None:
    async with ScriptedUpstream(echo) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        for data in (b"", bytes(range(256)), b"\xff" * 100_000):
            await peer.socket.send_bytes(data)
            assert await peer.socket.receive_bytes(timeout=5) == data


async def test_pings_and_pongs_pass_with_their_data(stage: Stage) -> None:
    heard = asyncio.Queue[aiohttp.WSMessage]()

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.ping(b"from upstream")
        while not socket.closed:
            message = await socket.receive()
            await heard.put(message)
            if message.type is aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        relay = await open_relay(stage, f"ws://127.0.0.1:{runner.addresses[0][1]}/ws")
        while not heard.empty():
            heard.get_nowait()  # of the trial dial at start
        peer = await stage.connect(relay.url, autoping=False)
        ping = await peer.socket.receive(timeout=5)
        assert (ping.type, ping.data) == (aiohttp.WSMsgType.PING, b"from upstream")
        await peer.socket.pong(b"from client")
        await peer.socket.ping(b"and back")
        pong = await peer.socket.receive(timeout=5)
        assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"and back")
        async with asyncio.timeout(5):
            while (message := await heard.get()).type is not aiohttp.WSMsgType.PONG:
                continue
        assert message.data == b"from client"
        await peer.socket.close()
    finally:
        await runner.cleanup()


async def test_the_upstream_chooses_the_subprotocol(stage: Stage) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("graphql-ws",))
        await socket.prepare(request)
        async for _ in socket:
            continue
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        relay = await open_relay(stage, f"ws://127.0.0.1:{runner.addresses[0][1]}/ws")
        peer = await stage.connect(relay.url, protocols=("mqtt", "graphql-ws"))
        assert peer.socket.protocol == "graphql-ws"
    finally:
        await runner.cleanup()


async def test_the_query_passes_but_for_what_is_ours(stage: Stage) -> None:
    async with ScriptedUpstream(wait_for_goodbye) as upstream:
        relay = await open_relay(stage, upstream.url)
        await stage.connect(relay.url, query={"room": "a b", "token": "the-client-token"})
        assert dict(upstream.requests[-1].query) == {"room": "a b"}


async def test_an_upstream_that_is_away_is_a_clear_http_answer(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_relay(stage, gateway.url)
    await gateway.stop()
    async with stage.http.get(relay.url.replace("ws:", "http:"), headers=UPGRADE) as response:
        assert response.status == 502
        assert "Connection refused" in (await response.json())["message"]
    relay_again = await open_relay(stage, gateway.url)
    assert relay_again.url


async def test_the_rate_limit_delays_and_loses_nothing(stage: Stage) -> None:
    async with ScriptedUpstream(echo) as upstream:
        limits = LimitSettings(messages_per_second=50, burst=1, queue=3)
        relay = await open_relay(stage, upstream.url, limits=limits)
        peer = await stage.connect(relay.url)
        began = asyncio.get_running_loop().time()
        for number in range(20):
            await peer.socket.send_str(str(number))
        assert [await peer.text() for _ in range(20)] == [str(number) for number in range(20)]
        assert asyncio.get_running_loop().time() - began > 0.3


async def test_a_message_over_the_limit_is_answered_413_and_does_not_go_up(stage: Stage) -> None:
    async with ScriptedUpstream(echo) as upstream:
        limits = LimitSettings(messages_per_second=0, max_message_bytes=1000)
        relay = await open_relay(stage, upstream.url, limits=limits)
        peer = await stage.connect(relay.url)
        await peer.send("chat_send", "big", content="x" * 1000)
        await peer.send("chat_send", "small", content="x")
        refusal = await peer.message()
        assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (413, "big")
        assert (await peer.message())["id"] == "small"


async def test_what_nobody_reads_is_not_read_from_the_other_side(stage: Stage) -> None:
    """Memory stays bounded by what sockets hold; everything arrives once it is read."""
    piece = "x" * 100_000
    count = 200

    async def pour(connection: Connection) -> None:
        for _ in range(count):
            await connection.send_text(piece)
        await connection.until_gone()

    async with ScriptedUpstream(pour) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        most = 0
        for _ in range(30):
            await asyncio.sleep(0.01)
            most = max(most, relay.gauges().outbox_bytes)
        assert most < 4_000_000
        for _ in range(count):
            assert await peer.text() == piece


async def test_both_directions_are_recorded_and_the_session_is_known(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_relay(stage, gateway.url, record=True)
    peer, session = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hello")
    await peer.message("chat_receive")
    await peer.socket.close()
    await until(lambda: not relay.gauges().clients)
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        records = list(reader)
    asked = next(record for record in records if record.id == "m1")
    assert asked.direction == "to_upstream"
    answer = next(record for record in records if record.type == "chat_receive")
    assert (answer.session, answer.reply_to) == (session, "m1")
    greeting = next(record for record in records if record.type == "connection_established")
    user = json.loads(greeting.data or "")["payload"]["user_id"]
    assert {each.user for each in records if each.kind == "message"} == {user}


async def test_clients_that_come_at_once_are_no_more_than_may_be_connected(stage: Stage) -> None:
    async with ScriptedUpstream(echo) as upstream:
        relay = await open_relay(stage, upstream.url, max_clients=3)

        async def come() -> int:
            try:
                await stage.connect(relay.url)
            except aiohttp.WSServerHandshakeError as refusal:
                return refusal.status
            return 101

        came = await asyncio.gather(*(come() for _ in range(10)))
        assert sorted(came) == [101] * 3 + [503] * 7
        assert relay.numbers.dials == 1 + 3  # the first is the trial at the start


@pytest.mark.parametrize(("status", "error"), [(401, "not_authenticated"), (403, "not_permitted")])
async def test_what_the_upstream_does_not_let_in_hears_so_in_http_before_the_upgrade(
    stage: Stage, status: int, error: str
) -> None:
    gate: list[int] = []

    def refuse(_request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=gate[0]) if gate else None

    async with ScriptedUpstream(echo, gate=refuse) as upstream:
        relay = await open_relay(stage, upstream.url)
        gate.append(status)
        async with stage.http.get(relay.url.replace("ws:", "http:"), headers=UPGRADE) as response:
            assert response.status == status
            body = await response.json()
        assert (body["error"], body["code"]) == (error, status)
        assert body["message"].startswith("The upstream at ")


async def test_a_place_is_free_again_when_the_upstream_refuses_or_the_client_has_left(
    stage: Stage,
) -> None:
    refusing = True

    def gate(_request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=500) if refusing else None

    async with ScriptedUpstream(echo, gate=gate) as upstream:
        relay = await open_relay(stage, upstream.url, max_clients=1)
        for _ in range(2):
            with pytest.raises(aiohttp.WSServerHandshakeError, match="502"):
                await stage.connect(relay.url)
        refusing = False
        for _ in range(2):
            peer = await stage.connect(relay.url)
            await peer.socket.close()
            await until(lambda: not relay.gauges().clients)


async def test_metrics_say_how_it_was_found_what_answers_what(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_relay(stage, gateway.url)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hello")
    await peer.message("chat_receive")
    assert relay.numbers.routes["exact"] >= 2  # chunks, and the answer


async def test_metrics_count_pairs(stage: Stage) -> None:
    async with echo_upstream() as url:
        relay = await open_relay(stage, url)
        peers: list[Peer] = [(await stage.greeted(relay.url))[0] for _ in range(3)]
        gauges = relay.gauges()
        assert (gauges.clients, gauges.links["up"]) == (3, 3)
        for peer in peers:
            await peer.socket.close()
        await until(lambda: relay.gauges().clients == 0)
