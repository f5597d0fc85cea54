"""`compression=gzip`: long messages travel as gzip, and either form is understood."""

from __future__ import annotations

import gzip
import json
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House


def call(text: str, message_id: str = "m1") -> bytes:
    parameters = {"text": text}
    payload = {"tool_name": "echo", "execution_id": "e1", "parameters": parameters}
    return json.dumps({"id": message_id, "type": "tool_call", "payload": payload}).encode()


async def result(socket: aiohttp.ClientWebSocketResponse) -> tuple[aiohttp.WSMsgType, Any]:
    frame = await socket.receive(timeout=5)
    data = gzip.decompress(frame.data) if frame.type is aiohttp.WSMsgType.BINARY else frame.data
    return frame.type, json.loads(data)


@pytest.mark.parametrize("size", [2_000, 100_000])
async def test_long_answers_come_as_gzip_and_short_ones_as_text(house: House, size: int) -> None:
    async with house.connected(compression="gzip") as peer:
        await peer.socket.send_bytes(gzip.compress(call("x" * size)))
        kind, message = await result(peer.socket)
        assert kind is aiohttp.WSMsgType.BINARY
        assert "x" * size in json.dumps(message)
        await peer.socket.send_str(call("short").decode())
        kind, message = await result(peer.socket)
        assert kind is aiohttp.WSMsgType.TEXT


async def test_gzip_is_understood_from_whoever_sends_it(house: House) -> None:
    async with house.connected() as peer:
        await peer.socket.send_bytes(gzip.compress(call("x" * 5000)))
        kind, message = await result(peer.socket)
        assert (kind, message["type"]) == (aiohttp.WSMsgType.TEXT, "tool_result")


async def test_an_unknown_compression_is_told_and_the_connection_serves(house: House) -> None:
    async with house.connected(compression="br") as peer:
        refusal = await peer.until("connection_error")
        assert refusal["payload"]["error"] == "unsupported_compression"
        assert await peer.answer(await peer.say("hello"))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(gzip.compress(bytes(64 << 20)), 413, id="a bomb"),
        pytest.param(gzip.compress(call("x" * 2000))[:-4], 400, id="cut off"),
        pytest.param(b"\x1f\x8bnonsense", 400, id="no gzip"),
        pytest.param(gzip.compress(b"\xff\xfe"), 400, id="gzip of no text"),
        pytest.param(b"\x00\x01", 400, id="other binary"),
    ],
)
async def test_a_bad_one_is_refused_and_the_connection_stays(
    house: House, data: bytes, code: int
) -> None:
    async with house.connected(compression="gzip") as peer:
        await peer.socket.send_bytes(data)
        refusal = await peer.until("connection_error")
        assert refusal["payload"]["code"] == code
        assert await peer.answer(await peer.say("hello"))


async def test_exactly_the_limit_passes_and_one_byte_more_is_413(open_house: OpenHouse) -> None:
    house = await open_house(limits={"max_message_bytes": 5000})
    async with house.connected(compression="gzip") as peer:
        exact = call("x" * 100)
        exact = exact[:-1] + b" " * (5000 - len(exact)) + b"}"
        await peer.socket.send_bytes(gzip.compress(exact))
        assert (await result(peer.socket))[1]["type"] == "tool_result"
        await peer.socket.send_bytes(gzip.compress(exact + b" "))
        assert (await result(peer.socket))[1]["payload"]["code"] == 413
