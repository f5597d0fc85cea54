"""What the relay promises its clients, over real sockets, with our gateway upstream."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from megabot_cli.config.schema import OutboxSettings
from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Peer, Stage, hears_nothing, until
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


@pytest.mark.parametrize("code", [401, 429, 500])
async def test_what_the_upstream_refuses_by_id_its_sender_hears_whatever_the_code(
    stage: Stage, code: int
) -> None:
    """401 and 429 are about the link, too; without an id the link alone hears of 401."""

    async def refuse(connection: Connection) -> None:
        await connection.greet()
        asked = await connection.receive()
        refusal = {"error": "no", "message": "no", "code": code}
        await connection.send("connection_error", refusal)
        await connection.send("connection_error", refusal, reply_to=asked["id"])
        await connection.until_gone()

    async with ScriptedUpstream(refuse) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, _ = await stage.greeted(relay.url)
        await peer.send("note", "m1", n=1)
        heard = [await peer.message() for _ in range(1 if code == 401 else 2)]
        assert {each["payload"]["code"] for each in heard} == {code}
        assert heard[-1]["metadata"]["reply_to"] == "m1"
        assert await hears_nothing(peer, 0.05)
