"""How a pair of connections ends: codes pass, and what was sent before still goes."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
import structlog
from aiohttp import web

from megabot_cli.config.schema import LimitSettings
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Stage, until
from tests.relay.test_dedicated import open_relay
from tests.support.upstream import Connection, ScriptedUpstream


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1000, "done"),
        (1001, ""),
        (1003, "text only"),
        (1011, ""),
        (1012, ""),
        (1013, "busy"),
        (4321, "warum nicht é"),
    ],
)
async def test_the_upstreams_close_code_and_reason_reach_the_client(
    stage: Stage, code: int, reason: str
) -> None:
    answered: list[int | None] = []

    async def close_at_once(connection: Connection) -> None:
        await connection.receive_text()
        await connection.close(code, reason)
        answered.append(connection.socket.close_code)

    async with ScriptedUpstream(close_at_once) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str("go")
        message = await peer.socket.receive(timeout=5)
        assert (message.type, message.data, message.extra) == (
            aiohttp.WSMsgType.CLOSE,
            code,
            reason,
        )
        await until(lambda: answered)
        assert answered == [code]  # who answers a close repeats its code (RFC 6455, 5.5.1)


async def test_the_clients_close_code_and_reason_reach_the_upstream(stage: Stage) -> None:
    codes: list[int | None] = []

    async def note(connection: Connection) -> None:
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(note) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        codes.clear()
        await peer.socket.close(code=4321, message=b"enough")
        await until(lambda: codes)
        assert codes == [4321]
        assert peer.socket.close_code == 4321  # as the upstream answered


async def test_a_cut_line_is_told_by_cutting(stage: Stage) -> None:
    async def cut(connection: Connection) -> None:
        await connection.receive_text()
        await connection.cut()

    async with ScriptedUpstream(cut) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        await peer.socket.send_str("go")
        assert await peer.close_code() == 1006
        await until(lambda: not relay.numbers.clients_closed.keys() - {1006})


async def test_the_upstream_is_told_of_a_client_that_was_cut_off(stage: Stage) -> None:
    ended = asyncio.Event()

    async def wait(connection: Connection) -> None:
        try:
            await connection.until_gone()
        finally:  # a server of aiohttp's may cancel the handler of a broken connection
            ended.set()

    async with ScriptedUpstream(wait) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        ended.clear()
        assert peer.socket._response.connection is not None
        assert peer.socket._response.connection.transport is not None
        peer.socket._response.connection.transport.abort()
        async with asyncio.timeout(5):
            await ended.wait()


class Keeping:
    """An upstream that keeps what it gets, and the code with which that ended."""

    def __init__(self) -> None:
        self.got: list[str | bytes] = []
        self.ended = False
        self.ended_with: int | None = None

    async def __call__(self, connection: Connection) -> None:
        await connection.socket.ping(b"are you there?")  # answered, also for who has left
        try:
            while True:
                self.got.append(await connection.receive_text())
        finally:
            self.ended, self.ended_with = True, connection.socket.close_code


@pytest.mark.parametrize("cut", [False, True])
async def test_what_the_rate_limit_holds_of_a_client_that_leaves_still_goes_up_before_its_close(
    stage: Stage, cut: bool
) -> None:
    script = Keeping()
    async with ScriptedUpstream(script) as upstream:
        limits = LimitSettings(messages_per_second=10, burst=1)
        relay = await open_relay(stage, upstream.url, limits=limits)
        peer = await stage.connect(relay.url)
        await until(lambda: len(upstream.connections) == 2)
        script.ended = False
        for number in range(12):
            await peer.socket.send_str(str(number))
        await until(lambda: relay.gauges().waiting_to_upstream >= 5)
        if cut:
            assert peer.socket._response.connection is not None
            assert peer.socket._response.connection.transport is not None
            peer.socket._response.connection.transport.abort()
        else:
            await peer.socket.close(code=4321, message=b"enough")
        assert len(script.got) < 12
        await until(lambda: script.ended)
        assert script.got == [str(number) for number in range(12)]
        assert cut or script.ended_with == 4321
        assert not relay.numbers.drops


async def test_what_would_take_too_long_to_go_up_after_its_client_has_left_is_given_up_and_counted(
    stage: Stage,
) -> None:
    script = Keeping()
    with structlog.testing.capture_logs() as logged:
        async with ScriptedUpstream(script) as upstream:
            limits = LimitSettings(messages_per_second=0.5, burst=1)
            relay = await open_relay(stage, upstream.url, limits=limits, wait_s=0.2)
            peer = await stage.connect(relay.url)
            await until(lambda: len(upstream.connections) == 2)
            script.ended = False
            for number in range(5):
                await peer.socket.send_str(str(number))
            await peer.socket.close(code=4321)
            await until(lambda: script.ended)
            assert (script.got, script.ended_with) == (["0"], 4321)
            assert relay.numbers.drops["rate_limit"] == 4
    cut_short = [line for line in logged if line["event"] == "client.cut_short"]
    assert [line["messages"] for line in cut_short] == [4]


async def test_a_drain_ends_what_goes_up_for_a_client_that_has_left(stage: Stage) -> None:
    script = Keeping()
    async with ScriptedUpstream(script) as upstream:
        limits = LimitSettings(messages_per_second=2, burst=1)
        relay = await open_relay(stage, upstream.url, limits=limits, drain_s=0.7)
        peer = await stage.connect(relay.url)
        for number in range(20):
            await peer.socket.send_str(str(number))
        await peer.socket.close()
        async with asyncio.timeout(3):
            await relay.drain()
        assert 1 < len(script.got) < 5
        assert len(script.got) + relay.numbers.drops["rate_limit"] == 20


async def test_a_stopping_relay_closes_both_sides_with_1012(stage: Stage) -> None:
    codes: list[int | None] = []

    async def note(connection: Connection) -> None:
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(note) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        codes.clear()
        stopping = asyncio.ensure_future(relay.drain())
        assert await peer.close_code() == 1012
        await stopping
        assert codes == [1012]


async def test_a_drain_lets_the_answer_under_way_finish(stage: Stage) -> None:
    async def answer_slowly(connection: Connection) -> None:
        question = await connection.receive()
        await asyncio.sleep(0.3)
        await connection.send("chat_receive", {"content": "late"}, reply_to=question["id"])
        await connection.until_gone()

    async with ScriptedUpstream(answer_slowly) as upstream:
        relay = await open_relay(stage, upstream.url)
        peer = await stage.connect(relay.url)
        await peer.send("chat_send", "m1", content="hello")
        await until(lambda: relay.numbers.messages_to_upstream == 1)
        stopping = asyncio.ensure_future(relay.drain())
        assert json.loads(await peer.text())["payload"]["content"] == "late"
        assert await peer.close_code() == 1012
        await stopping


async def test_a_drain_that_looks_at_nothing_waits_for_silence(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.server.QUIET_S", 1.0)  # of it, and not of a busy machine

    async def trickle(connection: Connection) -> None:
        await connection.receive()
        for number in range(8):
            await asyncio.sleep(0.2)
            await connection.send_text(str(number))
        await connection.until_gone()

    async with ScriptedUpstream(trickle) as upstream:
        relay = await open_relay(stage, upstream.url, validation="off", drain_s=10.0)
        peer = await stage.connect(relay.url)
        await peer.send("chat_send", "m1", content="hello")
        assert await peer.text() == "0"
        stopping = asyncio.ensure_future(relay.drain())
        assert [await peer.text() for _ in range(7)] == [str(number) for number in range(1, 8)]
        assert await peer.close_code() == 1012
        await stopping


class Closing:
    """An upstream of plain aiohttp that closes, or is closed, without a code."""

    def __init__(self, begins: bool) -> None:
        self.begins = begins
        self.heard: list[tuple[object, object, str | None]] = []

    async def __call__(self, connection: Connection) -> None:
        await connection.receive_text()
        if self.begins:
            await connection.send_raw(b"\x88\x00")
        reader = connection.socket._reader
        assert reader is not None
        message = await reader.read()
        self.heard.append((message.type, message.data, message.extra))


@pytest.mark.parametrize("by", ["client", "upstream"])
async def test_a_close_without_a_code_stays_one_on_both_sides_and_in_the_recording(
    stage: Stage, by: str
) -> None:
    empty = (aiohttp.WSMsgType.CLOSE, 0, "")
    script = Closing(by == "upstream")
    async with ScriptedUpstream(script) as upstream:
        relay = await open_relay(stage, upstream.url, record=True)
        peer = await stage.connect(relay.url, autoclose=False)
        await peer.socket.send_str("go")
        if by == "client":
            await until(lambda: relay.numbers.messages_to_upstream)
            await peer.socket.send_frame(b"", aiohttp.WSMsgType.CLOSE)
        message = await peer.socket.receive(timeout=5)
        assert (message.type, message.data, message.extra) == empty
        if by == "upstream":
            await peer.socket.send_frame(b"", aiohttp.WSMsgType.CLOSE)
        await until(lambda: script.heard)
        assert script.heard == [empty]
        await until(lambda: not relay.gauges().clients)
        await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        (closed,) = [each for each in reader if each.kind == "close"]
    assert (closed.code, closed.reason, closed.by) == (None, None, by)
    assert relay.numbers.clients_closed == {1005: 1}


async def test_a_close_without_a_code_waits_for_what_the_rate_limit_holds(stage: Stage) -> None:
    script = Keeping()
    async with ScriptedUpstream(script) as upstream:
        limits = LimitSettings(messages_per_second=10, burst=1)
        relay = await open_relay(stage, upstream.url, limits=limits)
        peer = await stage.connect(relay.url, autoclose=False)
        await until(lambda: len(upstream.connections) == 2)
        script.ended = False
        for number in range(6):
            await peer.socket.send_str(str(number))
        await peer.socket.send_frame(b"", aiohttp.WSMsgType.CLOSE)
        message = await peer.socket.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 0)
        await until(lambda: script.ended)
        assert script.got == [str(number) for number in range(6)]
        assert script.ended_with == 0


async def test_who_waits_for_its_upstream_when_a_drain_begins_is_not_let_in(stage: Stage) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()
    codes: list[int | None] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.set()
        await may_answer.wait()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        codes.append(socket.close_code)
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        may_answer.set()
        relay = await open_relay(stage, f"ws://127.0.0.1:{runner.addresses[0][1]}/ws", drain_s=5.0)
        may_answer.clear()
        asked.clear()
        codes.clear()
        connecting = asyncio.ensure_future(stage.connect(relay.url))
        await asked.wait()
        draining = asyncio.ensure_future(relay.drain())
        await asyncio.sleep(0)
        may_answer.set()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connecting
        assert refused.value.status == 503
        assert relay.numbers.refusals == {"draining": 1}
        await draining
        await until(lambda: codes)
        assert codes == [1001]
    finally:
        await runner.cleanup()
