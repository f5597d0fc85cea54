"""Any bytes, any JSON and any order of valid messages raise nothing unforeseen."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote_from_bytes

import aiohttp
import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.server import Gateway
from megabot_cli.protocol.messages import MESSAGE_TYPES
from tests.gateway.peer import DEADLINE_S, House
from tests.gateway.test_messages import VALID_PAYLOADS

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "type", "payload", "metadata", "content", "x"]), inner
        )
    ),
    max_leaves=12,
)
types = st.sampled_from([*MESSAGE_TYPES, "unknown"])
odd_messages = st.fixed_dictionaries(
    {"id": st.text(max_size=4), "type": types, "payload": json_values},
    optional={"timestamp": json_values, "metadata": json_values},
)
valid_messages = types.map(
    lambda name: {"id": "m", "type": name, "payload": VALID_PAYLOADS.get(name, {})}
)
rooms = st.sampled_from(["a", "b"])
room_messages = st.builds(
    lambda name, room: {
        "id": "m",
        "type": name,
        "payload": {"session_id": room, "action": "wave"},
    },
    st.sampled_from(["session_join", "collaborative_action"]),
    rooms,
)
texts = (json_values | odd_messages | valid_messages | room_messages).map(msgspec.json.encode)
frames = st.tuples(st.sampled_from([1, 1, 1, 2, 9, 10]), texts | st.binary(max_size=100))


def in_a_house(scenario: Callable[[House], Awaitable[None]]) -> None:
    """Run a scenario against a gateway; whatever was logged as a fault of ours is an error."""

    unhandled: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: unhandled.append(fault))
        settings = GatewaySettings(listen="127.0.0.1:0", latency_s=0, chunk_delay_s=0)
        users = Users.in_memory(cost=2)
        users.add("ada", "lovelace")
        unlimited = LimitSettings(messages_per_second=0)
        gateway = Gateway(settings, unlimited, users, keys=Keys.in_memory())
        await gateway.start()
        async with aiohttp.ClientSession() as http:
            house = House(gateway, http, users.add_api_key("ada"))
            await scenario(house)
            async with house.connected() as peer:
                await peer.answer(await peer.say("all well?"))
        await gateway.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    with structlog.testing.capture_logs() as logged:
        asyncio.run(run())
    assert not [event for event in logged if event["log_level"] == "error"]
    assert not unhandled


few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@given(st.lists(frames, max_size=15))
def test_any_frames_of_an_admitted_peer(sent: list[tuple[int, bytes]]) -> None:
    async def scenario(house: House) -> None:
        async with house.connected() as peer:
            try:
                for opcode, text in sent:
                    await peer.socket._writer.send_frame(text[:125], opcode)
                    if opcode == 1:
                        await peer.socket._writer.send_frame(text, opcode)
            except ConnectionError:
                return  # text that is not UTF-8 ends a connection, as it must

    in_a_house(scenario)


@few
@given(st.lists(st.tuples(st.integers(0, 2), valid_messages | room_messages), max_size=25))
def test_any_order_of_valid_messages_on_several_connections(
    sent: list[tuple[int, dict[str, Any]]],
) -> None:
    async def scenario(house: House) -> None:
        async with house.connected() as one, house.connected() as other:
            async with house.connected(session_id=one.session_id) as twin:
                peers = (one, other, twin)
                for who, message in sent:
                    await peers[who].send_text(msgspec.json.encode(message).decode())
            for peer in (one, other):
                await peer.answer(await peer.say("done?"))

    in_a_house(scenario)


@few
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_on_the_port(sent: bytes, as_frames: bool) -> None:
    async def scenario(house: House) -> None:
        loop = asyncio.get_running_loop()
        plain = socket.socket()
        plain.setblocking(False)
        await loop.sock_connect(plain, (house.gateway.host, house.gateway.port))
        head = (
            f"GET /ws?token={house.key} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        ).encode()
        await loop.sock_sendall(plain, (head if as_frames else b"") + sent)
        plain.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(DEADLINE_S):
            try:
                while await loop.sock_recv(plain, 65536):
                    continue
            except ConnectionResetError:
                assert sent
        plain.close()

    in_a_house(scenario)


@few
@given(st.binary(max_size=60).map(quote_from_bytes) | st.text("%&=;+/a9", max_size=30))
def test_any_query(query: str) -> None:
    async def scenario(house: House) -> None:
        url = URL(f"{house.gateway.url}?session_id={query}&{query}={query}", encoded=True)
        async with house.http.ws_connect(url, headers={"X-API-Key": house.key}) as socket:
            assert "connection_established" in (await socket.receive()).data
        async with house.http.ws_connect(
            URL(f"{house.gateway.url}?token={query}", encoded=True)
        ) as socket:
            assert "connection_error" in (await socket.receive()).data

    in_a_house(scenario)


@pytest.mark.parametrize("kind", ["zeros", "fragments"])
def test_a_bomb_is_refused_and_others_do_not_notice(kind: str) -> None:
    async def scenario(house: House) -> None:
        async with house.connected(compress=15) as bomber, house.connected() as other:
            writer = bomber.socket._writer
            if kind == "zeros":
                bomb = asyncio.ensure_future(bomber.socket.send_bytes(bytes(64 << 20)))
            else:
                writer.transport.write(b"\x01\x81\0\0\0\0x" + b"\x00\x81\0\0\0\0x" * 100_000)
                bomb = asyncio.ensure_future(bomber.send_text("over"))
            for _ in range(5):
                await other.answer(await other.say("quick?"))
            assert await bomber.closed() in (1002, 1009)
            await asyncio.gather(bomb, return_exceptions=True)

    in_a_house(scenario)
