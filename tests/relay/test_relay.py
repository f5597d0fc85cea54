"""What the relay promises its clients, over real sockets, with our gateway upstream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
import structlog

from megabot_cli.config.schema import LimitSettings, OutboxSettings
from megabot_cli.gateway.server import Gateway
from megabot_cli.protocol.batching import unwrap, wrap
from megabot_cli.relay.wire import upstream_transport
from megabot_cli.storage.segment_reader import open_recording
from tests.relay.conftest import Peer, Stage, until
from tests.relay.echo_upstream import echo_upstream
from tests.support.upstream import Connection, ScriptedUpstream


async def answer_to(peer: Peer, message_id: str) -> str:
    """The whole answer to a message, from its chunks; the final chat_receive must agree."""
    chunks = ""
    while True:
        message = await peer.message()
        if message.get("metadata", {}).get("reply_to") != message_id:
            continue
        if message["type"] == "chat_stream":
            chunks += message["payload"]["chunk"]
        elif message["type"] == "chat_receive":
            assert message["payload"]["content"] == chunks
            return chunks
        else:
            raise AssertionError(message)


async def test_a_client_without_a_credential_is_greeted_and_answered(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, session = await stage.greeted(relay.url)
    assert session.startswith("sess_")
    await peer.send("chat_send", "m1", content="hello")
    assert await answer_to(peer, "m1")


async def test_every_client_of_a_session_sees_all_of_it(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    first, session = await stage.greeted(relay.url)
    second, same_session = await stage.greeted(relay.url, session)
    assert same_session == session
    await first.send("chat_send", "m1", content="hello both")
    assert await answer_to(first, "m1") == await answer_to(second, "m1")
    assert gateway.connection_count == 1


async def test_clients_that_name_no_session_get_one_each(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    _, first = await stage.greeted(relay.url)
    _, second = await stage.greeted(relay.url)
    assert first != second


async def test_the_text_arrives_exactly_as_it_was_sent_in_both_directions(stage: Stage) -> None:
    odd = (
        '{ "type":"chat_send","id":"m1", "id":"m1","payload":{"n":12345678901234567890123,'
        '"n":1.10, "content":"\\u00e9é\\ud83d\\ude00"}, "unknown" : [ ] }'
    )
    async with echo_upstream() as url:
        relay = await stage.open_relay(url)
        peer, _ = await stage.greeted(relay.url)
        await peer.socket.send_str(odd)
        assert await peer.text() == odd


@pytest.mark.parametrize(
    "text",
    ['{"type":"message","content":"hi"}', "plain words", "[1,2]", "", '{"id":5,"type":"x"}'],
)
async def test_what_is_no_envelope_is_forwarded_unchanged_and_counted(
    stage: Stage, text: str
) -> None:
    async with echo_upstream() as url:
        relay = await stage.open_relay(url)
        peer, _ = await stage.greeted(relay.url)
        await peer.socket.send_str(text)
        assert await peer.text() == text
        assert relay.numbers.malformed_to_upstream == 1
        assert relay.numbers.malformed_to_client == 1


async def test_binary_is_forwarded_unchanged(stage: Stage) -> None:
    async with echo_upstream() as url:
        relay = await stage.open_relay(url)
        peer, _ = await stage.greeted(relay.url)
        await peer.socket.send_bytes(b"\x00\xff\x80")
        message = await peer.socket.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.BINARY, b"\x00\xff\x80")


async def test_text_that_is_not_utf8_closes_its_sender_and_reaches_nobody(stage: Stage) -> None:
    async with echo_upstream() as url:
        relay = await stage.open_relay(url)
        first, session = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url, session)
        await first.socket.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        assert await first.close_code() == 1007
        await second.send("x", "m1", n=1)
        assert (await second.message())["id"] == "m1"


async def test_a_message_over_the_limit_is_answered_413_and_the_client_stays(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "big", content="x" * (2 * 1024 * 1024))
    refusal = await peer.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (413, "big")
    await peer.send("chat_send", "m2", content="still here")
    assert await answer_to(peer, "m2")


async def test_strict_validation_refuses_by_id_and_path_and_the_client_stays(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, validation="strict")
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content=5)
    refusal = await peer.message("connection_error")
    assert refusal["payload"]["code"] == 400
    assert "$.payload.content" in refusal["payload"]["message"]
    assert refusal["metadata"]["reply_to"] == "m1"


async def test_clients_stay_while_the_upstream_is_away_and_what_waited_is_answered(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url)
    first, session = await stage.greeted(relay.url)
    second, _ = await stage.greeted(relay.url, session)
    await gateway.stop()
    for peer in (first, second):
        assert (await peer.message("status_update"))["payload"]["status"] == "reconnecting"
    await first.send("chat_send", "m1", content="while away")
    await until(lambda: relay.gauges().waiting_to_upstream == 1)
    gateway = await stage.open_gateway(port=gateway.port)
    for peer in (first, second):
        back = (await peer.message("status_update", limit_s=15))["payload"]
        assert (back["status"], "resumed" in back["message"]) == ("connected", True)
        assert await answer_to(peer, "m1")
    assert relay.numbers.reconnects == 1
    await relay.stop()
    await gateway.stop()


async def test_a_client_that_comes_while_the_upstream_is_away_is_greeted_on_a_known_session(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url)
    first, session = await stage.greeted(relay.url)
    await gateway.stop()
    await first.message("status_update")
    late, same = await stage.greeted(relay.url, session)
    assert same == session
    assert (await late.message())["payload"]["status"] == "reconnecting"


async def test_a_cut_line_is_told_apart_from_a_goodbye(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    await gateway.drop_all()
    news = await peer.message("status_update")
    assert "(1006)" in news["payload"]["message"]
    peer.socket._response.close()
    await until(lambda: relay.numbers.clients_closed[1006] == 1)
    other, _ = await stage.greeted(relay.url)
    await other.socket.close(code=4321)
    await until(lambda: relay.numbers.clients_closed[4321] == 1)


async def test_a_link_that_nobody_keeps_is_dialled_at_the_start_all_the_same(
    stage: Stage, gateway: Gateway
) -> None:
    async with asyncio.timeout(5):
        relay = await stage.open_relay(gateway.url, linger_s=0.0)
    await until(lambda: not relay.sessions)
    assert relay.numbers.resumes["fresh"] == 1
    await stage.greeted(relay.url)


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_a_session_that_ended_upstream_ends_its_clients_4508_and_is_not_dialled_again(
    stage: Stage, mode: str
) -> None:
    async def end(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.close(4508, "logged out elsewhere")

    with structlog.testing.capture_logs() as logged:
        async with ScriptedUpstream(end) as upstream:
            relay = await stage.open_relay(upstream.url, mode=mode, linger_s=0.05)
            peer, _ = await stage.greeted(relay.url)
            dials = relay.numbers.dials
            await peer.send("chat_send", "m1", content="never answered")
            error = await peer.message("connection_error")
            assert error["payload"]["error"] == "delivery_unknown"
            assert error["metadata"]["reply_to"] == "m1"
            assert await peer.close_code() == 4508
            await until(lambda: not relay.sessions)
            assert relay.numbers.dials == dials
            other, _ = await stage.greeted(relay.url)  # on a new one
            await other.socket.close()
            await until(lambda: not relay.sessions)
    ended = [line["link"] for line in logged if line["event"] == "session.ended"]
    assert len(ended) == len(set(ended)) >= 2


async def test_what_waits_too_long_is_answered_503_by_id(stage: Stage) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url, wait_s=0.2)
    peer, _ = await stage.greeted(relay.url)
    await gateway.stop()
    await peer.message("status_update")
    await peer.send("chat_send", "m1", content="never delivered")
    refusal = await peer.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (503, "m1")


async def test_more_than_may_wait_is_refused_at_once_and_the_rest_is_kept(stage: Stage) -> None:
    gateway = await stage.open_gateway()
    relay = await stage.open_relay(gateway.url, wait_messages=2)
    peer, _ = await stage.greeted(relay.url)
    await gateway.stop()
    await peer.message("status_update")
    for number in range(3):
        await peer.send("chat_send", f"m{number}", content="wait")
    refusal = await peer.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (503, "m2")
    assert relay.gauges().waiting_to_upstream == 2


async def test_a_request_that_was_written_but_never_answered_is_told_delivery_unknown(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway(latency_s=60.0)
    relay = await stage.open_relay(gateway.url)
    peer, session = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="lost")
    await until(lambda: relay.numbers.messages_to_upstream == 1)
    await asyncio.sleep(0.05)
    await gateway.stop()
    stage.forget_all(gateway.port)
    gateway = await stage.open_gateway(port=gateway.port)
    refusal = await peer.message("connection_error", limit_s=15)
    assert refusal["payload"]["error"] == "delivery_unknown"
    assert refusal["metadata"]["reply_to"] == "m1"
    assert refusal["metadata"]["session_id"] != session
    await relay.stop()
    await gateway.stop()


async def test_a_request_whose_upstream_stays_away_is_told_delivery_unknown_in_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.session.LONGEST_GRACE_S", 1.0)
    gateway = await stage.open_gateway(latency_s=60.0)
    relay = await stage.open_relay(gateway.url)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="lost")
    await until(lambda: relay.numbers.messages_to_upstream == 1)
    await asyncio.sleep(0.05)
    await gateway.stop()  # and nobody comes back
    refusal = await peer.message("connection_error")
    assert refusal["payload"]["error"] == "delivery_unknown"
    assert refusal["metadata"]["reply_to"] == "m1"
    assert relay.numbers.delivery_unknown == 1


async def test_the_rate_limit_delays_and_loses_nothing(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(
        gateway.url, limits=LimitSettings(messages_per_second=50, burst=2, queue=100)
    )
    peer, _ = await stage.greeted(relay.url)
    started_at = asyncio.get_running_loop().time()
    for number in range(12):
        await peer.send("chat_send", f"m{number}", content="quick")
    for number in range(12):
        await answer_to(peer, f"m{number}")
    assert asyncio.get_running_loop().time() - started_at >= (12 - 2) / 50 - 0.02
    assert relay.numbers.rate_limit_waits >= 1


async def test_a_full_queue_is_answered_429_and_what_was_accepted_is_sent(stage: Stage) -> None:
    async with echo_upstream() as url:
        limits = LimitSettings(messages_per_second=20, burst=1, queue=3)
        relay = await stage.open_relay(url, limits=limits)
        peer, _ = await stage.greeted(relay.url)
        for number in range(6):
            await peer.send("x", f"m{number}", n=1)
        refused, echoed = set(), []
        for _ in range(6):
            message = await peer.message()
            if message["type"] == "connection_error":
                assert message["payload"]["code"] == 429
                refused.add(message["metadata"]["reply_to"])
            else:
                echoed.append(message["id"])
        assert refused == {"m4", "m5"}
        assert echoed == ["m0", "m1", "m2", "m3"]


async def test_a_client_that_does_not_read_is_closed_and_nobody_else_notices(
    stage: Stage,
) -> None:
    async with echo_upstream() as url:
        relay = await stage.open_relay(url, outbox=OutboxSettings(bytes=200_000))
        reader, session = await stage.greeted(relay.url)
        host, port = relay.url.removeprefix("ws://").removesuffix("/ws").split(":")
        _unread, silent = await asyncio.open_connection(host, int(port), limit=1024)
        silent.write(
            f"GET /ws?session_id={session} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        await until(lambda: relay.gauges().clients == 2)
        text = json.dumps({"id": "m", "type": "x", "payload": "y" * 100_000})
        for _ in range(120):
            await reader.socket.send_str(text)
            assert await reader.text() == text
        await until(lambda: relay.gauges().clients == 1)
        assert relay.numbers.clients_closed[4008] == 1
        silent.transport.abort()


async def test_a_drain_lets_the_answer_under_way_finish_and_closes_with_1012(
    stage: Stage,
) -> None:
    gateway = await stage.open_gateway(chunk_delay_s=0.02)
    relay = await stage.open_relay(gateway.url, drain_s=10.0)
    peer, _ = await stage.greeted(relay.url)
    await peer.send("chat_send", "m1", content="finish this")
    await peer.message("chat_stream")
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    await until(lambda: relay._draining)
    async with stage.http.get(f"{relay.admin_url}/readyz") as answer:
        assert answer.status == 503
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await stage.connect(relay.url)
    assert (await peer.message("chat_receive", limit_s=10))["metadata"]["reply_to"] == "m1"
    assert await peer.close_code() == 1012
    await draining
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


async def test_what_waits_for_the_rate_limit_leaves_as_batches_with_every_text_unchanged(
    stage: Stage,
) -> None:
    got: list[str] = []

    async def keep(connection: Connection) -> None:
        await connection.greet()
        while True:
            got.append(str(await connection.receive_text()))

    async with ScriptedUpstream(keep) as upstream:
        limits = LimitSettings(messages_per_second=10, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, batching=True)
        peer, _ = await stage.greeted(relay.url)
        texts = [
            f'{{ "id":"m{n}", "type":"chat_send","payload":{{"content":"n {n}"}},"timestamp":1.0}}'
            for n in range(26)
        ]
        for text in texts:
            await peer.socket.send_str(text)
        await until(lambda: sum(len(unwrap(text)) or 1 for text in got) == 26)
        assert [inner for text in got for inner in unwrap(text) or [text]] == texts
        assert len(got) <= 5
        assert relay.numbers.batches >= 2


@pytest.mark.parametrize("mode", ["session", "shared", "dedicated"])
async def test_what_is_in_a_batch_of_a_clients_counts_each_for_the_rate_limit(
    stage: Stage, mode: str
) -> None:
    times: list[float] = []

    async def keep(connection: Connection) -> None:
        await connection.greet()
        while True:
            await connection.receive_text()
            times.append(asyncio.get_running_loop().time())

    async with ScriptedUpstream(keep) as upstream:
        limits = LimitSettings(messages_per_second=50, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, mode=mode)
        peer, _ = await stage.greeted(relay.url)
        good = '{"id":"m%d","type":"my_type","payload":{"n":1},"timestamp":1}'
        batch = wrap([good % number for number in range(10)], "b", 1.0)
        for _ in range(4):  # the first leaves at once, the others wait in the queue
            await peer.socket.send_str(batch)
        await peer.socket.send_str(good % 11)
        await until(lambda: len(times) == 5)
        assert times[-1] - times[0] >= 40 / 50 - 0.1


async def test_a_batch_takes_in_nothing_that_would_spoil_it(stage: Stage) -> None:
    got: list[str] = []

    async def keep(connection: Connection) -> None:
        await connection.greet()
        while True:
            got.append(str(await connection.receive_text()))

    async with ScriptedUpstream(keep) as upstream:
        limits = LimitSettings(messages_per_second=20, burst=1, max_message_bytes=2000)
        relay = await stage.open_relay(upstream.url, limits=limits, batching=True)
        peer, _ = await stage.greeted(relay.url)
        good = '{"id":"m%d","type":"chat_send","payload":{"content":"%s"},"timestamp":1}'
        texts = [good % (0, "x"), good % (1, "x"), "plain words", good % (2, "y" * 900)]
        texts += [good % (3, "z" * 900), good % (4, "x"), good % (5, ""), good % (6, "x")]
        for text in texts:
            await peer.socket.send_str(text)
        await until(lambda: sum(len(unwrap(text)) or 1 for text in got) == len(texts))
        assert [inner for text in got for inner in unwrap(text) or [text]] == texts
        assert "plain words" in got
        assert texts[6] in got  # an empty content is against the rules
        assert all(len(text) <= 2000 for text in got)


async def test_a_clients_own_batch_leaves_as_it_came_also_where_the_relay_makes_some(
    stage: Stage,
) -> None:
    got: list[str] = []

    async def keep(connection: Connection) -> None:
        await connection.greet()
        while True:
            got.append(str(await connection.receive_text()))

    async with ScriptedUpstream(keep) as upstream:
        limits = LimitSettings(messages_per_second=10, burst=1)
        relay = await stage.open_relay(upstream.url, limits=limits, batching=True)
        peer, _ = await stage.greeted(relay.url)
        good = '{"id":"m%d","type":"x","payload":{},"timestamp":1}'
        own = wrap([good % 3, good % 4], "own", 1.0)
        for text in [good % 0, good % 1, good % 2, own, good % 5]:
            await peer.socket.send_str(text)
        await until(lambda: good % 5 in got)
        assert [good % 0, own, good % 5] == [got[0], *got[2:]]
        assert unwrap(got[1]) == [good % 1, good % 2]
