"""permessage-deflate with the specification's parameters, for any client that offers it."""

from __future__ import annotations

import asyncio
import json
import zlib

import aiohttp
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from megabot_cli.gateway.deflating import (
    THRESHOLD_BYTES,
    WINDOW_BITS,
    deflate,
)
from tests.gateway.peer import House


@given(st.binary(max_size=3000))
def test_a_deflated_message_inflates_by_itself(message: bytes) -> None:
    inflater = zlib.decompressobj(-WINDOW_BITS)
    assert inflater.decompress(deflate(message) + b"\x00\x00\xff\xff") == message


@pytest.mark.parametrize("size", [10, THRESHOLD_BYTES, 7_000, 200_000])
async def test_answers_of_any_length_arrive_whole(house: House, size: int) -> None:
    async with house.connected(compress=15) as peer:
        assert "server_max_window_bits=10" in _agreed(peer.socket)
        assert "server_no_context_takeover" in _agreed(peer.socket)
        call = {
            "tool_name": "echo",
            "execution_id": "e1",
            "parameters": {"text": "ab" * (size // 2)},
        }
        await peer.send("tool_call", call)
        result = await peer.until("tool_result")
        assert json.dumps(result).count("ab") >= size // 2


def _agreed(socket: aiohttp.ClientWebSocketResponse) -> str:
    return socket._response.headers.get("Sec-WebSocket-Extensions", "")


@pytest.mark.parametrize("window", [9, 10, 12, 15])
@pytest.mark.parametrize("no_takeover", [False, True])
async def test_another_implementation_reads_what_we_compress(
    house: House, window: int, no_takeover: bool
) -> None:
    offer = ClientPerMessageDeflateFactory(
        server_no_context_takeover=no_takeover,
        server_max_window_bits=window,
        client_max_window_bits=True,
    )
    headers = {"X-API-Key": house.key}
    async with websockets.connect(
        house.gateway.url, extensions=[offer], compression=None, additional_headers=headers
    ) as socket:
        agreed = str(socket.response and socket.response.headers["Sec-WebSocket-Extensions"])
        assert f"server_max_window_bits={min(window, WINDOW_BITS)}" in agreed
        greeting = json.loads(await socket.recv())
        assert greeting["type"] == "connection_established"
        for number in range(3):
            text = "".join(f"{number} {n} " for n in range(1000))
            call = {"tool_name": "echo", "execution_id": f"e{number}", "parameters": {"text": text}}
            message = {"id": f"m{number}", "type": "tool_call", "payload": call}
            await socket.send(json.dumps(message))
            async with asyncio.timeout(5):
                result = json.loads(await socket.recv())
            assert result["payload"]["execution_id"] == f"e{number}"
            assert text in json.dumps(result)


async def test_without_an_offer_nothing_is_compressed(house: House) -> None:
    async with house.connected(compress=0) as peer:
        assert _agreed(peer.socket) == ""


async def test_a_deflated_bomb_ends_its_connection_and_nobody_elses(house: House) -> None:
    async with house.connected(compress=15) as bomber, house.connected() as other:
        await bomber.socket.send_str('{"id":"m1","type":"x","payload":"' + "0" * (64 << 20) + '"}')
        assert await bomber.closed() == 1009
        message_id = await other.say("still there?")
        assert await other.answer(message_id)
