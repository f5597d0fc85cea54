"""A connection that is ended while its peer still sends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from megabot_cli.client import parting
from megabot_cli.client.parting import part
from tests.client.conftest import until


class Before(asyncio.Protocol):
    """The protocol that a connection has until it is parted from."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.calls: list[str] = []
        self.heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


Joined = tuple[Before, asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def joined() -> AsyncIterator[Joined]:
    """Our side of a connection, and the peer's."""
    ours = Before()
    server = await asyncio.get_running_loop().create_server(lambda: ours, "127.0.0.1", 0)
    async with server:
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        await until(lambda: ours.transport is not None)
        try:
            yield ours, reader, writer
        finally:
            ours.transport.abort()
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's time runs out, unless a test says so."""
    monkeypatch.setattr(parting, "PART_S", 20.0)
    monkeypatch.setattr(parting, "QUIET_S", 0.1)


async def parted(ours: Before) -> None:
    await asyncio.wait_for(part(ours.transport), 5)


async def test_who_has_nothing_more_to_say_is_told_that_it_is_over_and_hangs_up() -> None:
    async with joined() as (ours, reader, writer):
        ours.transport.write(b"why")
        parting_from = asyncio.ensure_future(parted(ours))
        assert await asyncio.wait_for(reader.read(), 5) == b"why"
        assert not parting_from.done()
        writer.close()
        await parting_from
        assert ours.calls == ["lost"]


async def test_who_still_sends_is_read_and_not_told_before_it_is_quiet() -> None:
    async with joined() as (ours, reader, writer):
        ours.transport.pause_reading()
        parting_from = asyncio.ensure_future(parted(ours))
        ended = asyncio.ensure_future(reader.read())
        for _ in range(15):
            writer.write(b"x" * 10)
            await asyncio.sleep(0.02)
            assert not ended.done()
        assert await asyncio.wait_for(ended, 5) == b""
        assert ours.heard == b""
        writer.close()
        await parting_from


async def test_who_hangs_up_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "QUIET_S", 20.0)
    async with joined() as (ours, _, writer):
        ours.transport.pause_reading()
        parting_from = asyncio.ensure_future(parted(ours))
        writer.write(b"the last")
        writer.close()
        await parting_from
        assert ours.calls == ["lost"]


async def test_who_sends_on_without_end_is_cut_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "PART_S", 0.2)

    async def send_on(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.01)

    async with joined() as (ours, _, writer):
        sending = asyncio.ensure_future(send_on(writer))
        began = time.monotonic()
        await parted(ours)
        assert 0.2 <= time.monotonic() - began < 4
        assert ours.transport.is_closing()
        sending.cancel()


async def test_who_sends_too_much_is_cut_off_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parting, "PART_BYTES", 1000)
    monkeypatch.setattr(parting, "QUIET_S", 20.0)
    async with joined() as (ours, _, writer):
        parting_from = asyncio.ensure_future(parted(ours))
        await until(lambda: ours.transport.get_protocol() is not ours)
        writer.write(b"x" * 1000)
        await asyncio.sleep(0.05)
        assert not parting_from.done()
        writer.write(b"x")
        await parting_from
        assert ours.transport.is_closing()


async def test_who_does_not_read_is_told_of_to_whoever_writes() -> None:
    async with joined() as (ours, reader, writer):
        ours.transport.set_write_buffer_limits(high=0)
        parting_from = asyncio.ensure_future(parted(ours))
        await until(lambda: ours.transport.get_protocol() is not ours)
        ours.transport.write(b"x" * 50_000_000)
        assert ours.calls == ["pause"]
        assert len(await asyncio.wait_for(reader.read(), 5)) == 50_000_000
        writer.close()
        await parting_from
        assert ours.calls == ["pause", "resume", "lost"]


async def test_a_connection_that_has_gone_is_left_alone() -> None:
    async with joined() as (ours, _, _writer):
        ours.transport.close()
        await part(ours.transport)
        assert ours.transport.get_protocol() is ours
