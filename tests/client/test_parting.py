"""A connection that is ended while its peer still sends."""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientError, WebSocketError, WSMsgType

from megabot_cli.client import parting
from megabot_cli.client.parting import part
from megabot_cli.client.wire import PartsFromPeer, PartsFromServer, give_no_code
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


async def test_who_still_sends_is_read_and_not_told_before_it_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parting, "QUIET_S", 0.8)  # a busy machine makes no such pause
    async with joined() as (ours, reader, writer):
        ours.transport.pause_reading()
        parting_from = asyncio.ensure_future(parted(ours))
        ended = asyncio.ensure_future(reader.read())
        for _ in range(60):
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
        assert 0.2 <= time.monotonic() - began < 10
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


# The sockets that part


class Told:
    """Stands for aiohttp's socket: what it is told to do."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.told: list[object] = []
        self._reader = SimpleNamespace(exception=lambda: fault)
        self._exception = fault
        self._closed = False
        self._req = None
        self._response = SimpleNamespace(connection=None, close=lambda: self.told.append("gone"))
        self._writer = self

    async def close(self, *frame: object, code: int = 0, **more: object) -> bool:
        self.told.append(frame or code)
        self.told += [word for word, is_so in more.items() if is_so is True]
        return True

    def _close_transport(self) -> None:
        self.told.append("cut")

    def _set_closed(self) -> None:
        self._closed = True
        self.told.append("over")


class OfPeer(PartsFromPeer, Told):  # type: ignore[misc]
    pass


class OfServer(PartsFromServer, Told):
    async def close(self, *frame: Any, **more: Any) -> bool:
        return await (Told.close(self, *frame) if frame else PartsFromServer.close(self, **more))


BROKEN = WebSocketError(1002, "broken")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (None, 1000), (ConnectionResetError(), 1000), (ClientError(), 1000),
        (zlib.error(), 1002), (ZeroDivisionError(), 1011),
    ],
)  # fmt: skip
async def test_what_failed_is_no_normal_end(fault: BaseException | None, code: int) -> None:
    peers, servers = OfPeer(fault), OfServer(fault)
    assert await peers.close()
    assert await servers.close()
    assert (peers.told, servers.told) == ([code, "drain"], [code])
    assert await peers.close(code=1001)
    assert await servers.close(code=1001)
    assert (peers.told[2:], servers.told[1:]) == ([1001, "drain"], [1001])


async def test_who_broke_the_protocol_is_not_waited_for_and_not_cut_off() -> None:
    broken = OfPeer(BROKEN)
    await broken.close(code=1002)
    broken._close_transport()
    assert (broken.told, broken.must_part) == ([1002], True)
    sound = OfPeer()
    sound._close_transport()
    assert (sound.told, sound.must_part) == (["cut"], False)


async def test_a_server_that_broke_it_is_told_first_and_parted_from_then() -> None:
    broken = OfServer(BROKEN)
    assert await broken.close(code=1002, message=b"why")
    assert broken.told == ["over", (1002, b"why")]
    assert not await broken.close()
    assert broken.told[2:] == ["gone"]


async def test_a_server_that_has_gone_need_not_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object) -> bool:
        raise ConnectionResetError

    monkeypatch.setattr(Told, "close", lost)
    assert await OfServer(BROKEN).close(code=1002)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_close_without_a_code_is_the_last_that_is_written(*, fails: bool) -> None:
    written: list[object] = []

    async def send_frame(content: bytes, kind: WSMsgType) -> None:
        written.append((content, kind))
        if fails:
            raise ConnectionResetError

    writer = SimpleNamespace(send_frame=send_frame, _closing=False, close=None)
    give_no_code(SimpleNamespace(_writer=writer))
    with pytest.raises(ConnectionResetError) if fails else contextlib.nullcontext():
        await writer.close(1000, b"x")
    assert written == [(b"", WSMsgType.CLOSE)]
    assert writer._closing
