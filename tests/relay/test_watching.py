"""What recordings, taps and metrics say of what passed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import structlog

from megabot_cli.client.wire import client_frame, upstream_transport
from megabot_cli.gateway.server import Gateway
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Stage, until
from tests.relay.test_relay import answer_to
from tests.support.upstream import Connection, ScriptedUpstream


async def test_a_recording_says_whose_each_link_was_and_that_the_relay_closed_it(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, record=True)
    peer, session = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hi")
    await answer_to(peer, "m1")
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        records = list(reader)
    greeting = next(each for each in records if each.type == "connection_established")
    user = json.loads(greeting.data or "")["payload"]["user_id"]
    first = next(each.n for each in records if each.user == user)
    assert {each.user for each in records if each.n >= first} == {user}
    (closed,) = [each for each in records if each.kind == "close" and each.client is None]
    assert (closed.link, closed.session, closed.code) == (greeting.link, session, 1012)
    assert (closed.by, closed.reason) == ("relay", "the relay lets go")


async def test_a_recording_says_in_whose_words_each_was_closed(stage: Stage) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.close(4001, "enough, ‹token› sk-0123456789abcdefghij")

    async with ScriptedUpstream(script) as upstream:
        relay = await stage.open_relay(upstream.url, record=True)
        first, session = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url, session)
        await first.socket.close(code=4100, message=b"off to lunch")
        await until(lambda: relay.numbers.clients_closed)
        await second.send("chat_send", "m1", content="hi")
        await until(lambda: relay.numbers.link_losses)
        await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        closed = [(each.code, each.by, each.reason) for each in reader if each.kind == "close"]
    assert (4100, "client", "off to lunch") in closed
    (words,) = [reason for code, _, reason in closed if code == 4001]
    assert words is not None
    assert words.startswith("enough, ")
    assert "0123456789" not in words
    assert any(by == "relay" and code == 1012 and reason for code, by, reason in closed)


async def test_a_tap_shows_both_directions_as_records_without_secrets(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    tap = await stage.connect(relay.tap_url)
    header = json.loads(await tap.text())
    assert header["format"] == "megabot-recording"
    peer, session = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="hi", password="hunter2")
    await answer_to(peer, "m1")
    records: list[dict[str, Any]] = []
    while not records or records[-1].get("type") != "chat_receive":
        records.append(json.loads(await tap.text()))
    sent = next(record for record in records if record.get("direction") == "to_upstream")
    assert (sent["id"], sent["type"], sent["session"]) == ("m1", "chat_send", session)
    assert len({record["user"] for record in records if "link" in record}) == 1
    assert "hunter2" not in json.dumps(records)
    assert [record["n"] for record in records] == list(range(1, len(records) + 1))


async def test_a_tap_whose_watcher_was_killed_is_no_defect(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    with structlog.testing.capture_logs() as logged:
        for number in range(20):
            tap = await stage.connect(relay.tap_url)
            await tap.text()
            transport = upstream_transport(tap.socket)
            assert transport is not None
            for each in range(10):
                await peer.send("chat_send", f"m{number}_{each}", content="hi")
            transport.abort()
            await answer_to(peer, f"m{number}_9")
    assert not [entry for entry in logged if entry["event"] == "task.failed"]


async def test_metrics_count_what_passed(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="count me")
    await answer_to(peer, "m1")
    async with stage.http.get(f"{relay.admin_url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await answer.text()
    assert 'megabot_relay_messages_total{direction="to_upstream"} 1.0' in text
    assert "megabot_relay_clients 1.0" in text
    assert 'megabot_relay_links{profile="test",state="up"} 1.0' in text
    assert "megabot_relay_reply_seconds_count 1.0" in text
    assert "megabot_relay_first_chunk_seconds_count 1.0" in text


async def test_a_tap_whose_watcher_has_stopped_reading_holds_no_stop_up(stage: Stage) -> None:
    async with ScriptedUpstream() as upstream:
        relay = await stage.open_relay(upstream.url)
        tap = await stage.connect(relay.tap_url)
        await tap.text()
        transport = upstream_transport(tap.socket)
        assert transport is not None
        transport.pause_reading()
        peer, _ = await stage.greeted(relay.url)
        for number in range(300):  # more than two kernels' buffers hold
            await peer.send("x", f"m{number}", text="x" * 30_000)
        await until(lambda: relay.numbers.messages_to_upstream == 300)
        await asyncio.sleep(0.2)
        try:
            async with asyncio.timeout(8):
                await relay.stop()
        finally:
            transport.abort()


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_a_program_that_breaks_the_protocol_is_logged_by_name_and_in_words(
    stage: Stage, gateway: Gateway, mode: str
) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    peer, _ = await stage.greeted(relay.url)
    with structlog.testing.capture_logs() as logs:
        transport = peer.socket._response.connection.transport  # type: ignore[union-attr]
        assert isinstance(transport, asyncio.Transport)
        transport.write(client_frame((1005).to_bytes(2, "big"), b"\0\0\0\0", 0x88))
        assert await peer.close_code() == 1002
        await until(lambda: not relay.gauges().clients)
    (told,) = (each for each in logs if each["event"] == "socket.broken")
    (closed,) = (each for each in logs if each["event"] == "client.closed")
    assert (told["client"], told["code"]) == (closed["client"], 1002)
    assert told["fault"] == "Invalid close code: 1005"
    assert told["by"] == ("client" if mode == "dedicated" else None)
