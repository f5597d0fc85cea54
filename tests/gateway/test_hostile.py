"""Hostile input: each gets its refusal within its deadline, and others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import random
import struct
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, House

MIB = 1024 * 1024
PROMPT_S = 2.0  # an answer to others meanwhile; it takes milliseconds on a quiet machine

Attack = Callable[["Raw"], Awaitable[None]]


class Raw:
    """A WebSocket without any manners. `heard` has all that came, `closed` the close code."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.closed: int | None = None
        self.heard = b""

    def frame(self, opcode: int, data: bytes, *, fin: bool = True, rsv1: bool = False) -> None:
        """A masked frame; the mask is all zeros, so that nothing needs masking."""
        first = opcode | 0x80 * fin | 0x40 * rsv1
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", first, 0x80 | size)
        elif size < 65536:
            head = struct.pack(">BBH", first, 0xFE, size)
        else:
            head = struct.pack(">BBQ", first, 0xFF, size)
        self.write(head + bytes(4) + data)

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def until(self, wanted: bytes) -> None:
        """Read until this stands in what came, or the end; fails when neither comes in time."""
        async with asyncio.timeout(DEADLINE_S):
            while wanted not in self.heard:
                try:
                    data = await self._reader.read(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    break
                self.heard += data
        found = self.heard.rfind(b"\x88")
        if found >= 0 and len(self.heard) >= found + 4:
            self.closed = struct.unpack_from(">H", self.heard, found + 2)[0]


@asynccontextmanager
async def raw(house: House, query: str = "", *, deflate: bool = False) -> AsyncIterator[Raw]:
    """A connection that has been greeted."""
    reader, writer = await asyncio.open_connection(house.gateway.host, house.gateway.port)
    extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
    head = (
        f"GET /ws?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"X-API-Key: {house.key}\r\nSec-WebSocket-Version: 13\r\n{extension}"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    writer.write(head.encode())
    peer = Raw(reader, writer)
    try:
        await peer.until(b"connection_established" if not deflate else b"\r\n\r\n")
        yield peer
    finally:
        writer.transport.abort()


def chat(content: str) -> bytes:
    return b'{"id":"m1","type":"chat_send","payload":{"content":"%b"}}' % content.encode()


def sized(size: int) -> bytes:
    """A valid message of so many bytes: the rest is white space, which JSON allows."""
    message = chat("hello")
    return message + b" " * (size - len(message))


def zeros_deflated(size: int) -> bytes:
    squeezer = zlib.compressobj(9, wbits=-15)
    squeezed = b"".join(squeezer.compress(bytes(MIB)) for _ in range(size // MIB))
    return (squeezed + squeezer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


async def deflated_bomb(peer: Raw) -> None:
    peer.frame(1, zeros_deflated(64 * MIB), rsv1=True)
    await peer.until(b"\x88")
    assert peer.closed in (1009, None)  # None: cut before the close was read


async def gzip_bomb(peer: Raw) -> None:
    peer.frame(2, gzip.compress(bytes(64 * MIB)))
    await peer.until(b'"code":413')
    assert b'"code":413' in peer.heard


async def exactly_a_mebibyte(peer: Raw) -> None:
    peer.frame(1, sized(MIB))
    await peer.until(b'"chat_receive"')
    assert b'"chat_receive"' in peer.heard


async def one_byte_more(peer: Raw) -> None:
    peer.frame(1, sized(MIB + 1))
    await peer.until(b'"code":413')
    assert b"message_too_large" in peer.heard


async def much_more(peer: Raw) -> None:
    peer.frame(1, sized(2 * MIB))
    await peer.until(b"\x88")
    assert peer.closed == 1009


async def nested_deeply(peer: Raw) -> None:
    peer.frame(
        1, b'{"id":"m1","type":"chat_send","payload":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    )
    await peer.until(b"connection_error")
    assert b"connection_error" in peer.heard


async def a_million_digits(peer: Raw) -> None:
    message = b'{"id":"m1","type":"chat_send","payload":{"content":"x"},"timestamp":%b}'
    peer.frame(1, message % (b"9" * 1_000_000))
    await peer.until(b"connection_error")
    assert b"connection_error" in peer.heard


async def a_hundred_thousand_fragments(peer: Raw) -> None:
    message = sized(100_000)
    peer.frame(1, message[:1], fin=False)
    for at in range(1, len(message) - 1):
        peer.frame(0, message[at : at + 1], fin=False)
    peer.frame(0, message[-1:])
    await peer.until(b'"chat_receive"')
    assert b'"chat_receive"' in peer.heard or peer.closed in (1002, 1009)


async def fragments_without_end(peer: Raw) -> None:
    peer.frame(1, b"x", fin=False)
    for _ in range(40):
        peer.frame(0, b"x" * 65_536, fin=False)
    await peer.until(b"\x88")
    assert peer.closed == 1009


async def no_utf8(peer: Raw) -> None:
    peer.frame(1, b'{"id":"\xff\xfe"}')
    await peer.until(b"\x88")
    assert peer.closed == 1007


async def a_reserved_opcode(peer: Raw) -> None:
    peer.frame(3, b"x")
    await peer.until(b"\x88")
    assert peer.closed == 1002


async def no_mask(peer: Raw) -> None:
    peer.frame(1, chat("hello"))
    await peer.until(b"chat_receive")
    message = chat("again")
    peer.write(bytes((0x81, len(message))) + message)
    await peer.until(b"\x88")
    assert peer.closed == 1002


async def a_good_frame_and_a_ping_without_a_mask_in_one_read(peer: Raw) -> None:
    message = chat("hello")
    peer.write(bytes((0x81, 0x80 | len(message))) + bytes(4) + message + b"\x89\x00")
    await peer.until(b"\x88")
    assert peer.closed == 1002


async def a_huge_ping(peer: Raw) -> None:
    peer.frame(9, b"x" * 200)
    await peer.until(b"\x88")
    assert peer.closed == 1002


async def no_json(peer: Raw) -> None:
    for text in (b"", b"[]", b"null", b"{", b'"' * 1000, b"\0" * 1000):
        peer.frame(1, text)
    await peer.until(b"connection_error")
    assert b"connection_error" in peer.heard


@pytest.mark.parametrize(
    "attack",
    [
        deflated_bomb, gzip_bomb, exactly_a_mebibyte, one_byte_more, much_more, nested_deeply,
        a_million_digits, a_hundred_thousand_fragments, fragments_without_end, no_utf8,
        a_reserved_opcode, a_huge_ping, no_json, no_mask,
        a_good_frame_and_a_ping_without_a_mask_in_one_read,
    ],
    ids=lambda attack: attack.__name__,
)  # fmt: skip
async def test_it_gets_its_refusal_and_others_do_not_notice(house: House, attack: Attack) -> None:
    query = "compression=gzip" if attack is gzip_bomb else ""
    async with (
        house.connected() as other,
        raw(house, query, deflate=attack is deflated_bomb) as peer,
    ):
        asking = asyncio.ensure_future(attack(peer))
        slowest_s = 0.0
        for _ in range(5):
            began = time.monotonic()
            await other.answer(await other.say("all well?"))
            slowest_s = max(slowest_s, time.monotonic() - began)
        await asking
        await other.answer(await other.say("still?"))
        assert slowest_s < PROMPT_S


@pytest.mark.parametrize("half", [b"", b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_half_a_request_and_silence_is_cut_at_its_deadline(
    open_house: OpenHouse, half: bytes
) -> None:
    house = await open_house(gateway={"header_deadline_s": 0.3})
    async with house.connected() as other:
        reader, writer = await asyncio.open_connection(house.gateway.host, house.gateway.port)
        began = time.monotonic()
        writer.write(half)
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                while await reader.read(100):
                    continue
        assert 0.2 < time.monotonic() - began < 3
        writer.close()
        await other.answer(await other.say("all well?"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"x" * 100_000, 413),
        (b"no json", 400),
        (b'{"username":1,"password":2}', 400),
        (b"[" * 20_000, 400),
        (b'{"username":"a","password":"\xff"}', 400),
    ],
)
async def test_a_login_body_of_the_wrong_kind_is_refused(
    house: House, body: bytes, status: int
) -> None:
    url = f"{house.gateway.http_url}/api/auth/login"
    async with house.http.post(url, data=body) as response:
        assert response.status == status
        assert (await response.json())["code"] == status


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system shows no descriptors")
async def test_a_thousand_that_come_and_go_at_random_leave_nothing(open_house: OpenHouse) -> None:
    house = await open_house(gateway={"chunk_delay_s": 0.001}, limits={"max_message_bytes": MIB})
    chance = random.Random(20)

    async def visit(when: float, manner: int) -> None:
        await asyncio.sleep(when)
        reader, writer = await asyncio.open_connection(house.gateway.host, house.gateway.port)
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        head = (
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"X-API-Key: {house.key}\r\n{key}\r\n"
        ).encode()
        writer.write(head if manner else head[: chance.randrange(len(head))])
        peer = Raw(reader, writer)
        if manner > 1:
            await peer.until(b"connection_established")
            peer.frame(
                1, chat("tell me something") if manner > 2 else chat("x")[:9], fin=manner > 2
            )
        await asyncio.sleep(chance.random() * 0.05)
        writer.transport.abort()

    async with house.connected() as witness:
        before = descriptors()
        moments = [(chance.random() * 2, chance.randrange(5)) for _ in range(1000)]
        await asyncio.gather(*(visit(when, manner) for when, manner in moments))
        async with asyncio.timeout(DEADLINE_S):
            while house.gateway.connection_count > 1 or descriptors() > before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await witness.answer(await witness.say("all well?"))
