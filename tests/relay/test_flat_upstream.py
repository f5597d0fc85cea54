"""A relay between clients and an upstream of the flat dialect, which it need not understand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from megabot_cli.client.flat import FlatClient
from megabot_cli.config.schema import LimitSettings
from megabot_cli.errors import NotAuthenticated
from megabot_cli.gateway.flat import GREETING, FlatGateway
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.record_printer import RecordPrinter
from tests.relay.conftest import Peer, Stage, hears_nothing, until
from tests.relay.executors import MARKED
from tests.relay.flat_upstreams import TOKEN, greeted, open_relay, open_upstream, recorded, said

# Legal JSON that a decoder and an encoder would not give back as it is.
ODD = (
    '{ "type" :"message","content":"caf\\u00e9 \\ud83d\\ude00",'
    '"big":12345678901234567890123,"x":1,"x":2 }'
)


@pytest.fixture
async def upstream() -> AsyncIterator[FlatGateway]:
    gateway = await open_upstream()
    yield gateway
    await gateway.stop()


async def test_a_client_is_greeted_with_the_upstreams_own_words(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream)
    peer = await stage.connect(relay.url)
    assert sorted(await peer.message()) == ["content", "sender", "timestamp", "type"]


async def test_messages_flow_both_ways_as_they_are(stage: Stage) -> None:
    heard: list[str] = []

    async def echo(request: web.Request) -> web.WebSocketResponse:
        assert request.query["token"] == TOKEN
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(ODD)
        async for message in socket:
            heard.append(message.data)
            await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/ws", echo)
    server = TestServer(app)
    await server.start_server()
    try:
        relay = await stage.open_relay(
            f"ws://127.0.0.1:{server.port}/ws", secret=TOKEN, dialect="flat"
        )
        peer = await stage.connect(relay.url)
        assert await peer.text() == ODD
        for text in (ODD, "Error: plain words", "[1, 2]", "", "null"):
            await peer.socket.send_str(text)
            assert await peer.text() == text
            assert heard[-1] == text
        await relay.stop()  # or the server would wait for its link
    finally:
        await server.close()


async def test_what_has_no_envelope_is_counted_and_refused_by_nobody(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream)
    peer = await greeted(stage, relay.url)
    before = await malformed(stage, relay.admin_url)
    answer = await said(peer, '{"type":"message","content":"hi"}')
    assert answer["content"].startswith("You said “hi”")
    after = await malformed(stage, relay.admin_url)
    assert after > before


async def malformed(stage: Stage, admin_url: str) -> float:
    async with stage.http.get(f"{admin_url}/metrics") as answer:
        text = await answer.text()
    lines = [line for line in text.splitlines() if "malformed" in line and not line.startswith("#")]
    assert lines, text
    return sum(float(line.split()[-1]) for line in lines)


async def test_strict_validation_refuses_what_has_no_envelope(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream, validation="strict")
    peer = await greeted(stage, relay.url)
    refused = await said(peer, '{"type":"message","content":"hi"}')
    assert (refused["type"], refused["payload"]["code"]) == ("connection_error", 400)


async def test_everybody_hears_that_an_approval_is_required(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream)
    asker, fellow = await greeted(stage, relay.url), await greeted(stage, relay.url)
    status = await said(asker, '{"type":"command","command":"ls"}')
    assert status == {"type": "status", "content": "Command queued for approval: ls"}
    for peer in (asker, fellow):
        asked = await peer.message("approval_required")
        assert asked["action"]["payload"]["params"] == {"command": "ls"}


async def test_a_bad_token_ends_the_start(stage: Stage, upstream: FlatGateway) -> None:
    with pytest.raises(NotAuthenticated):
        await stage.open_relay(upstream.url, secret="wrong", dialect="flat")


async def test_an_upstream_that_comes_back_is_used_again(stage: Stage) -> None:
    first = await open_upstream()
    relay = await open_relay(stage, first)
    peer = await greeted(stage, relay.url)
    await first.stop()
    assert (await peer.message("status_update"))["payload"]["status"] == "reconnecting"
    second = await open_upstream(first.port)
    try:
        back = await peer.message("status_update", limit_s=15)
        assert back["payload"]["status"] == "connected"
        assert "(unknown)" in back["payload"]["message"]  # no session has a name there
        assert relay.numbers.resumes["unknown"] == 1
        answer = await said(peer, '{"type":"message","content":"again"}')
        assert answer["content"].startswith("You said “again”")
    finally:
        await second.stop()


async def test_who_was_not_answered_when_the_link_fell_hears_that_it_is_not_known(
    stage: Stage,
) -> None:
    first = await open_upstream(latency_s=30)
    relay = await open_relay(stage, first)
    asker, fellow = [await stage.connect(relay.url, "s1") for _ in range(2)]
    for peer in (asker, fellow):
        await peer.message()
    await asker.socket.send_str('{"type":"message","content":"lost"}')
    await asker.socket.send_str('{"type":"set_mode","mode":"x"}')
    for peer in (asker, fellow):
        assert (await peer.message())["type"] == "mode_updated"
    await fellow.socket.send_str('{"type":"message","content":"lost, too"}')
    await until(lambda: relay.gauges().requests == 2)
    await first.stop()
    second = await open_upstream(first.port)
    try:
        for peer in (asker, fellow):
            unknown = await peer.message("connection_error", limit_s=15)
            assert unknown["payload"]["error"] == "delivery_unknown"
            assert "reply_to" not in unknown["metadata"]  # nothing has an id there
        answer = await said(fellow, '{"type":"message","content":"again"}')
        assert answer["content"].startswith("You said “again”")
        assert (await asker.message()) == answer
        assert relay.gauges().requests == 0
    finally:
        await second.stop()


async def test_with_a_link_of_ones_own_a_line_that_fell_ends_the_clients_too(
    stage: Stage,
) -> None:
    upstream = await open_upstream(latency_s=30)
    relay = await open_relay(stage, upstream, mode="dedicated")
    peer = await greeted(stage, relay.url)
    await peer.socket.send_str('{"type":"message","content":"lost"}')
    await until(lambda: relay.pairs[0].sent == 1)
    await upstream.stop()
    assert await peer.close_code() == CloseCode.SERVICE_RESTART


async def test_what_was_refused_is_not_open_whichever_it_was(stage: Stage) -> None:
    upstream = await open_upstream(latency_s=0.3)
    try:
        relay = await open_relay(stage, upstream, validation="off")
        peer = await greeted(stage, relay.url)
        await peer.socket.send_str('{"type":"message","content":"hi"}')
        await peer.socket.send_str("nobody knows this")
        await peer.socket.send_str('{"type":"reject_action","action_id":"gone"}')
        for _ in range(2):
            assert (await peer.text()).startswith("Error 400:")
        assert (await peer.message())["content"].startswith("You said “hi”")
        await until(lambda: relay.gauges().requests == 0)
    finally:
        await upstream.stop()


async def come_back(stage: Stage, url: str, **query: str) -> tuple[Peer, dict[str, Any]]:
    peer = await stage.connect(url, query=query)
    greeting = await peer.message()
    assert sorted(greeting) == ["content", "sender", "timestamp", "type"]
    return peer, await peer.message()


async def test_a_client_that_comes_back_hears_in_its_dialect_what_it_recovered(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream)
    staying = await stage.connect(relay.url, "s1")
    await staying.message()
    first = await stage.connect(relay.url, "s1", {"client_id": "ada"})
    assert (await first.message())["content"] == GREETING
    assert await hears_nothing(first, 0.05)  # it is new, and has missed nothing
    await first.socket.close()
    await until(lambda: relay.gauges().clients == 1)
    missed = await said(staying, '{"type":"message","content":"meanwhile"}')
    back, verdict = await come_back(stage, relay.url, session_id="s1", client_id="ada")
    assert verdict["type"] == "status"
    assert verdict["content"] == "Recovered: 1 message that you missed"
    corner = verdict["metadata"]["megabot"]
    assert corner["recovered"] is True
    assert await back.message() == missed
    _, verdict = await come_back(stage, relay.url, session_id="s1", cursor="epoch_gone:1")
    assert verdict["content"].startswith("Not recovered (other_epoch): ")
    told = verdict["metadata"]["megabot"]
    assert (told["recovered"], told["reason"]) == (False, "other_epoch")
    _, verdict = await come_back(stage, relay.url, session_id="s1", cursor=corner["cursor"])
    assert verdict["metadata"]["megabot"]["recovered"] is True


async def test_one_that_reads_the_corner_finds_it_in_the_upstreams_greeting(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream)
    first = await stage.connect(relay.url, "s1", protocols=MARKED)
    greeting = await first.message()
    assert greeting["content"] == GREETING
    cursor = greeting["metadata"]["megabot"]["cursor"]
    await said(first, '{"type":"message","content":"hi"}')
    back = await stage.connect(relay.url, "s1", {"cursor": cursor}, protocols=MARKED)
    greeting = await back.message()
    assert greeting["metadata"]["megabot"] == {"cursor": cursor, "recovered": True}
    missed = await back.message()
    assert missed["content"].startswith("You said")


async def test_our_client_talks_through_the_relay(stage: Stage, upstream: FlatGateway) -> None:
    relay = await open_relay(stage, upstream)
    async with FlatClient(relay.url, send_in="header") as client:
        answer = await client.ask("hi")
    assert answer.content is not None
    assert answer.content.startswith("You said “hi”")


async def test_a_recording_has_the_exact_text_and_tail_shows_it(
    stage: Stage, upstream: FlatGateway
) -> None:
    relay = await open_relay(stage, upstream, record=True)
    peer = await greeted(stage, relay.url)
    await peer.socket.send_str(ODD)
    answer = await peer.text()
    refusal = "nobody knows this"
    await peer.socket.send_str(refusal)
    error = await peer.text()
    assert error.startswith("Error 400:")
    await relay.stop()

    records = recorded(stage)
    texts = [record.data for record in records if record.kind == "message"]
    assert texts[1:] == [ODD, answer, refusal, error]
    assert json.loads(texts[0] or "")["content"] == GREETING
    console = MemoryConsole()
    printer = RecordPrinter(console, "line")
    for record in records:
        printer.show(record, 0.0)
    assert "→  message" in console.stdout
    assert "café" in console.stdout
    assert error in console.stdout


async def test_a_link_of_ones_own_carries_it_too(stage: Stage, upstream: FlatGateway) -> None:
    relay = await open_relay(stage, upstream, mode="dedicated")
    peer = await greeted(stage, relay.url)
    assert (await said(peer, '{"type":"set_mode","mode":"x"}'))["type"] == "mode_updated"
    assert (await peer_text(peer, "nobody knows this")).startswith("Error 400:")


async def peer_text(peer: Peer, text: str) -> str:
    await peer.socket.send_str(text)
    return await peer.text()


async def test_messages_for_an_upstream_that_knows_no_batch_are_put_into_none(
    stage: Stage, upstream: FlatGateway
) -> None:
    limits = LimitSettings(messages_per_second=20, burst=1)
    relay = await open_relay(stage, upstream, batching=True, limits=limits)
    peer = await greeted(stage, relay.url)
    for number in range(4):  # each could be one of our envelopes, too
        message = {"id": str(number), "type": "message", "content": f"m{number}", "payload": {}}
        await peer.socket.send_str(json.dumps(message))
    for number in range(4):
        assert (await peer.message())["content"].startswith(f"You said “m{number}”")
