"""A client that stops reading hurts only itself."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from megabot_cli.config.schema import OutboxSettings
from megabot_cli.gateway.assistants.interface import Turn
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, House


class DeafClient:
    """A socket that has been upgraded and reads only when told to."""

    def __init__(self, plain: socket.socket) -> None:
        self._plain = plain
        self._loop = asyncio.get_running_loop()

    async def send(self, message: dict[str, Any]) -> None:
        await self.send_frame(0x1, msgspec.json.encode(message))

    async def send_frame(self, opcode: int, text: bytes) -> None:
        length = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, len(text))
        # A mask of zeros leaves the text as it is.
        await self._loop.sock_sendall(self._plain, length + b"\0\0\0\0" + text)

    async def read(self, size: int) -> bytes:
        return await self._loop.sock_recv(self._plain, size)

    async def read_to_the_end(self) -> int:
        """Read all there is; the number of bytes until the gateway hung up."""
        total = 0
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    data = await self._loop.sock_recv(self._plain, 1 << 20)
                except ConnectionResetError:
                    return total
                if not data:
                    return total
                total += len(data)


@asynccontextmanager
async def deaf_client(house: House, session_id: str = "") -> AsyncIterator[DeafClient]:
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, (house.gateway.host, house.gateway.port))
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /ws?token={house.key}&session_id={session_id} HTTP/1.1\r\nHost: x\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    try:
        await loop.sock_sendall(plain, head.encode())
        await loop.sock_recv(plain, 1024)
        yield DeafClient(plain)
    finally:
        plain.close()


def big_echo(n: int) -> dict[str, Any]:
    parameters = {"text": "y" * 50_000}
    payload = {"tool_name": "echo", "parameters": parameters, "execution_id": f"e{n}"}
    return {"id": f"t{n}", "type": "tool_call", "payload": payload}


SMALL = OutboxSettings(messages=50, bytes=500_000, stall_s=60)


async def gone(house: House, connections: int = 0) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while house.gateway.connection_count > connections:  # noqa: ASYNC110 (seen from outside)
            await asyncio.sleep(0.01)


async def flood(client: DeafClient, count: int) -> None:
    try:
        for n in range(count):
            await client.send(big_echo(n))
    except ConnectionError:
        return


async def test_a_client_that_does_not_read_is_closed_when_its_outbox_is_full(
    open_house: OpenHouse,
) -> None:
    house = await open_house(outbox=SMALL)
    async with deaf_client(house) as client, asyncio.timeout(DEADLINE_S):
        flooding = asyncio.ensure_future(flood(client, 400))
        await gone(house)
        flooding.cancel()
        # What it can still read is what the system had for it, not all that was said.
        assert await client.read_to_the_end() < 8_000_000


async def test_a_client_that_takes_nothing_for_stall_s_is_closed(open_house: OpenHouse) -> None:
    outbox = OutboxSettings(messages=1000, bytes=64 * 1024 * 1024, stall_s=0.3)
    house = await open_house(outbox=outbox)
    async with deaf_client(house) as client:
        flooding = asyncio.ensure_future(flood(client, 200))
        await gone(house)
        flooding.cancel()


async def test_others_do_not_notice_a_client_that_does_not_read(open_house: OpenHouse) -> None:
    house = await open_house(outbox=SMALL)
    async with deaf_client(house) as deaf, house.connected() as peer:
        flooding = asyncio.ensure_future(flood(deaf, 300))
        slowest = 0.0
        while not flooding.done() and house.gateway.connection_count > 1:
            began = time.monotonic()
            await peer.answer(await peer.say("quick?"))
            slowest = max(slowest, time.monotonic() - began)
        flooding.cancel()
        await gone(house, 1)
        assert slowest < 3.0


class Torrent:
    """Says more, and faster, than the buffers of any system hold."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        for _ in range(10):
            yield "w" * 10_000


QUESTIONS = 60  # each answered with some 200 kB


async def test_answers_wait_for_a_client_that_reads_slowly_and_lose_nothing(
    open_house: OpenHouse,
) -> None:
    outbox = OutboxSettings(messages=20, bytes=200_000, stall_s=30)
    house = await open_house(outbox=outbox, assistant=Torrent())
    async with deaf_client(house) as client:
        for n in range(QUESTIONS):
            await client.send({"id": f"q{n}", "type": "chat_send", "payload": {"content": "go"}})
        chunks, whole, end, most_held = 0, 0, b"", 0
        async with asyncio.timeout(2 * DEADLINE_S):
            while whole < QUESTIONS:
                text = end + await client.read(1 << 20)
                chunks += text.count(b'"chat_str')
                whole += text.count(b'"chat_rec')
                end = text[-8:]  # one less than what is counted: none is missed, none twice
                most_held = max(most_held, _held_bytes(house))
        assert chunks == 11 * QUESTIONS
        assert 0 < most_held < 500_000


async def test_a_fast_connection_of_the_same_session_is_not_held_up_by_a_slow_one(
    open_house: OpenHouse,
) -> None:
    outbox = OutboxSettings(messages=50, bytes=2_000_000, stall_s=60)
    house = await open_house(outbox=outbox, assistant=Torrent())
    async with house.connected() as fast, deaf_client(house, fast.session_id):
        for _ in range(QUESTIONS - 1):
            await fast.say("go")
        await fast.answer(await fast.say("go"))
        assert sum(one["type"] == "chat_stream" for one in fast.received) == 11 * QUESTIONS
        await gone(house, 1)


@pytest.mark.parametrize("opcode", [0x9, 0x1])
async def test_pings_and_nonsense_of_a_client_that_does_not_read_do_not_pile_up(
    open_house: OpenHouse, opcode: int
) -> None:
    house = await open_house(outbox=SMALL)
    async with deaf_client(house) as client:
        # Its own system buffers fill first; each nonsense is answered with some 300 bytes.
        await flood(client, 1)
        body = b"x" * 100
        frame = struct.pack("!BB4s", 0x80 | opcode, 0x80 | len(body), b"\0\0\0\0") + body
        try:
            async with asyncio.timeout(DEADLINE_S):
                for _ in range(300):
                    await asyncio.get_running_loop().sock_sendall(client._plain, frame * 200)
        except ConnectionError:
            assert opcode == 0x1
        assert _held_bytes(house) < 2_000_000


def _held_bytes(house: House) -> int:
    held = 0
    for connection in house.gateway._connections:
        transport = connection._transport
        held += transport.get_write_buffer_size() + connection._outbox._bytes
    return held
