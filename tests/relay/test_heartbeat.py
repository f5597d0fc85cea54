"""Dead connections are found by ping, and nobody alive is taken for dead."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
import structlog

from megabot_cli.client import wire
from megabot_cli.config.schema import OutboxSettings
from megabot_cli.relay.heartbeat import QUIET_LOOKS, SILENT_LOOKS, SLICES, Heartbeat
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Stage, until
from tests.support.upstream import Connection, ScriptedUpstream


class Socket:
    heard = True


class Watched:
    """A connection that notes when it is pinged and given up."""

    def __init__(self, heartbeat: Heartbeat, *, answers: bool = False) -> None:
        self.socket = Socket()
        self.answers = answers
        self.pings: list[float] = []
        self.given_up: list[float] = []
        self.pulse = heartbeat.watch(self.socket, self.ping, self.give_up)

    def ping(self) -> None:
        self.pings.append(time.monotonic())
        self.socket.heard = self.answers

    def give_up(self) -> None:
        self.given_up.append(time.monotonic())


async def test_the_quiet_are_pinged_and_those_that_do_not_answer_given_up() -> None:
    heartbeat = Heartbeat(asyncio.get_running_loop(), 0.5)
    began = time.monotonic()
    dead, alive = Watched(heartbeat), Watched(heartbeat, answers=True)
    await until(lambda: dead.given_up)
    assert dead.pings[0] - began >= 0.5
    assert dead.given_up[0] - dead.pings[0] >= 0.15
    await until(lambda: len(alive.pings) >= 4)
    assert (len(dead.pings), len(dead.given_up)) == (1, 1)
    assert not alive.given_up
    heartbeat.stop()


async def test_who_is_heard_is_not_pinged_and_who_is_forgotten_left_alone() -> None:
    heartbeat = Heartbeat(asyncio.get_running_loop(), 0.4)
    talks, gone = Watched(heartbeat), Watched(heartbeat)
    heartbeat.forget(gone.pulse)
    heartbeat.forget(gone.pulse)
    for _ in range(50):
        talks.socket.heard = True
        await asyncio.sleep(0.02)
    assert not talks.pings + talks.given_up + gone.pings
    heartbeat.stop()


async def test_a_loop_that_was_held_up_judges_nobody_by_that_time() -> None:
    heartbeat = Heartbeat(asyncio.get_running_loop(), 0.5)
    watched = [Watched(heartbeat) for _ in range(3)]
    await until(lambda: all(each.pings for each in watched))
    time.sleep(1.5)  # noqa: ASYNC251  longer than a pong may take
    await asyncio.sleep(0.05)  # their pongs are read now
    assert not any(each.given_up for each in watched)
    for each in watched:
        each.socket.heard = True
    await asyncio.sleep(0.2)
    assert not any(each.given_up for each in watched)
    heartbeat.stop()


async def test_many_are_not_pinged_in_one_turn() -> None:
    heartbeat = Heartbeat(asyncio.get_running_loop(), 0.5)
    many = [Watched(heartbeat, answers=True) for _ in range(100)]
    await until(lambda: all(each.pings for each in many))
    heartbeat.stop()
    times = sorted(each.pings[0] for each in many)
    assert times[-1] - times[0] > 0.5 / QUIET_LOOKS / SLICES
    assert QUIET_LOOKS < SILENT_LOOKS


def test_this_aiohttp_tells_us_of_arriving_bytes() -> None:
    """If this fails aiohttp has changed: connections are kept by its own heartbeat, at a price."""
    assert wire.CAN_HEAR


async def test_a_client_that_answers_no_ping_is_closed_4009(stage: Stage) -> None:
    async def waits(connection: Connection) -> None:
        await connection.greet()
        await connection.until_gone()

    async with ScriptedUpstream(waits) as upstream:
        relay = await stage.open_relay(upstream.url, heartbeat_s=0.3)
        silent = await stage.connect(relay.url, autoping=False)
        alive = await stage.connect(relay.url)
        assert await silent.close_code() == 4009
        assert relay.numbers.clients_closed[4009] == 1
        await asyncio.wait([asyncio.ensure_future(alive.close_code(1.0))])
        assert not alive.socket.closed


class Listening:
    """An upstream of any kind that notes what it is pinged and what answers its own ping."""

    def __init__(self, *, pongs: bool = True) -> None:
        self.pongs = pongs
        self.heard: list[aiohttp.WSMessage] = []
        self.ended_with: int | None = None

    async def __call__(self, connection: Connection) -> None:
        connection.socket._autoping = False
        self.heard.clear()
        while not connection.socket.closed:
            message = await connection.socket.receive()
            self.heard.append(message)
            if message.type is aiohttp.WSMsgType.PING and self.pongs:
                await connection.socket.pong(message.data)
        self.ended_with = connection.socket.close_code

    def count(self, kind: aiohttp.WSMsgType) -> int:
        return sum(message.type is kind for message in self.heard)


async def open_dedicated(stage: Stage, upstream: ScriptedUpstream) -> Relay:
    return await stage.open_relay(upstream.url, mode="dedicated", heartbeat_s=0.3)


async def test_both_sides_of_a_pair_are_pinged_and_no_pong_of_theirs_to_that_passes(
    stage: Stage,
) -> None:
    script = Listening()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_dedicated(stage, upstream)
        peer = await stage.connect(relay.url)
        hearing = asyncio.ensure_future(peer.socket.receive())  # it answers pings by itself
        await until(lambda: script.count(aiohttp.WSMsgType.PING) >= 5)
        assert not hearing.done(), "it hears no pong"
        hearing.cancel()
        assert not script.count(aiohttp.WSMsgType.PONG)
        assert relay.gauges().clients == 1


async def test_a_client_of_a_pair_that_answers_no_ping_is_closed_4009(stage: Stage) -> None:
    script = Listening()
    async with ScriptedUpstream(script) as upstream:
        relay = await open_dedicated(stage, upstream)
        silent = await stage.connect(relay.url, autoping=False)
        assert await silent.close_code() == 4009
        await until(lambda: script.ended_with == 4009)
        await until(lambda: relay.numbers.clients_closed == {4009: 1})


async def test_an_upstream_of_a_pair_that_answers_no_ping_is_taken_for_lost(stage: Stage) -> None:
    async with ScriptedUpstream(Listening(pongs=False)) as upstream:
        relay = await open_dedicated(stage, upstream)
        peer = await stage.connect(relay.url)
        assert await peer.close_code() == 1006
        await until(lambda: relay.numbers.clients_closed == {1006: 1})


async def test_who_cannot_be_heard_for_the_brake_is_on_is_not_taken_for_dead(stage: Stage) -> None:
    """The upstream makes a pause that is longer than a heartbeat; the client waits with it."""

    rested = asyncio.Event()

    async def slow(connection: Connection) -> None:
        while not rested.is_set():
            await asyncio.sleep(0.1)
            await connection.send_text("here")
        await connection.until_gone()

    async with ScriptedUpstream(slow) as upstream:
        relay = await open_dedicated(stage, upstream)
        peer = await stage.connect(relay.url, autoping=False)

        async def pour() -> None:
            for _ in range(150):
                await peer.socket.send_bytes(bytes(200_000))

        pouring = asyncio.ensure_future(pour())
        await until(lambda: relay.gauges().outbox_bytes)
        await asyncio.sleep(0.8)
        assert not pouring.done()
        rested.set()
        await pouring
        assert relay.gauges().clients == 1


async def test_who_reads_slowly_what_had_no_room_is_not_taken_for_dead(stage: Stage) -> None:
    count = 40

    async def pour(connection: Connection) -> None:
        for _ in range(count):
            await connection.send_bytes(bytes(1_000_000))
        await connection.until_gone()

    async with ScriptedUpstream(pour) as upstream:
        relay = await open_dedicated(stage, upstream)
        peer = await stage.connect(relay.url, autoping=False)
        for _ in range(count):
            assert len(await peer.socket.receive_bytes(timeout=5)) == 1_000_000
            await asyncio.sleep(0.05)
        await peer.socket.send_str("alive")
        assert relay.gauges().clients == 1


async def test_a_client_that_reads_slowly_and_says_nothing_is_not_taken_for_dead(
    stage: Stage,
) -> None:
    count = 40

    async def pour(connection: Connection) -> None:
        await connection.greet()
        await connection.receive_text()
        for _ in range(count):
            await connection.send_bytes(bytes(1_000_000))
        await connection.until_gone()

    async with ScriptedUpstream(pour) as upstream:
        relay = await stage.open_relay(
            upstream.url, heartbeat_s=0.6, outbox=OutboxSettings(bytes=100_000_000)
        )
        peer, _ = await stage.greeted(relay.url)
        await peer.send("x", "go")
        await until(lambda: relay.local_clients[0].outbox.waiting_messages > 20)
        for _ in range(count):
            await asyncio.sleep(0.06)
            assert len(await peer.socket.receive_bytes(timeout=5)) == 1_000_000
        assert not relay.numbers.clients_closed


@pytest.mark.parametrize("pongs", [True, False])
async def test_a_link_whose_upstream_answers_no_ping_is_dialled_anew(
    stage: Stage, pongs: bool
) -> None:
    async def deaf(connection: Connection) -> None:
        await connection.greet()
        await connection.until_gone() if pongs else await asyncio.sleep(60)

    async with ScriptedUpstream(deaf) as upstream:
        relay = await stage.open_relay(upstream.url, heartbeat_s=0.3)
        await stage.greeted(relay.url)
        if not pongs:
            with structlog.testing.capture_logs() as logged:
                await until(lambda: relay.numbers.link_losses[1006] == 1)
            assert "link.silent" in [line["event"] for line in logged]  # by us, not by aiohttp
            await until(lambda: len(upstream.connections) == 2)
            return
        await asyncio.sleep(1.5)
        assert not relay.numbers.link_losses
        assert len(upstream.connections) == 1
