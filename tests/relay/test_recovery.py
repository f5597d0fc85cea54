"""A client that comes back gets exactly what it missed, or hears why nobody can say."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from megabot_cli.config.schema import OutboxSettings
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, until
from tests.support.upstream import Connection, ScriptedUpstream

MARKED = ("megabot.relay.v1",)


class Counting:
    """An upstream that sends numbered notifications when it is told to."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.sent = 0

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        self.connection = connection
        await connection.until_gone()

    async def send(self, count: int, **payload: Any) -> None:
        assert self.connection is not None
        for _ in range(count):
            self.sent += 1
            await self.connection.send("notification", {"n": self.sent, **payload})


def corner(message: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = message["metadata"]["megabot"]
    return found


async def numbers(peer: Peer, count: int) -> list[int]:
    return [(await peer.message("notification"))["payload"]["n"] for _ in range(count)]


async def settled(relay: Relay, count: int) -> None:
    """Until the relay has handed out so many messages."""
    await until(lambda: relay.numbers.messages_to_client >= count)


@pytest.fixture
async def counting() -> Any:
    script = Counting()
    async with ScriptedUpstream(script) as upstream:
        yield script, upstream


async def test_a_cursor_brings_exactly_what_was_missed_then_what_follows(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(upstream.url)
    peer = await stage.connect(relay.url, protocols=MARKED)
    session = (await peer.message())["payload"]["session_id"]
    await script.send(3)
    for _ in range(3):
        cursor = corner(await peer.message())["cursor"]
    await peer.socket.close()
    await script.send(4)
    await settled(relay, 7)
    again = await stage.connect(relay.url, session, {"cursor": cursor})
    assert corner(await again.message("connection_established"))["recovered"] is True
    assert await numbers(again, 4) == [4, 5, 6, 7]
    await script.send(1)
    assert await numbers(again, 1) == [8]


@pytest.mark.parametrize(
    ("offset", "recovered", "expected"),
    [
        pytest.param(-4, True, [7, 8, 9, 10], id="just before the oldest"),
        pytest.param(-5, "too_old", [], id="one before that"),
        pytest.param(0, True, [], id="at the top"),
        pytest.param(1, "ahead", [], id="beyond the top"),
    ],
)
async def test_at_the_edges_of_the_ring(
    stage: Stage,
    counting: tuple[Counting, ScriptedUpstream],
    offset: int,
    recovered: bool | str,
    expected: list[int],
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(upstream.url, ring_messages=4)
    peer = await stage.connect(relay.url, protocols=MARKED)
    session = (await peer.message())["payload"]["session_id"]
    await script.send(10)
    epoch = ""
    for _ in range(10):
        epoch, _, top = corner(await peer.message())["cursor"].partition(":")
    again = await stage.connect(relay.url, session, {"cursor": f"{epoch}:{int(top) + offset}"})
    verdict = corner(await again.message("connection_established"))
    assert verdict["recovered"] is (recovered is True)
    assert verdict.get("reason") == (recovered if recovered is not True else None)
    await script.send(1)
    assert await numbers(again, len(expected) + 1) == [*expected, 11]


async def test_a_cursor_of_another_epoch_is_told(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    _, upstream = counting
    relay = await stage.open_relay(upstream.url)
    peer = await stage.connect(relay.url, query={"cursor": "epoch_of_yesterday:3"})
    verdict = corner(await peer.message("connection_established"))
    assert (verdict["recovered"], verdict["reason"]) == (False, "other_epoch")


async def test_a_name_alone_brings_what_was_missed(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(upstream.url)
    peer, session = await stage.greeted(relay.url, client_id="ada")
    await script.send(2)
    assert await numbers(peer, 2) == [1, 2]
    await peer.socket.close()
    await until(lambda: relay.gauges().clients == 0)
    await script.send(3)
    await settled(relay, 5)
    again = await stage.connect(relay.url, session, {"client_id": "ada"})
    assert corner(await again.message("connection_established"))["recovered"] is True
    assert await numbers(again, 3) == [3, 4, 5]


def cut(peer: Peer) -> None:
    transport = peer.socket._response.connection.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.abort()


async def test_a_name_whose_line_was_cut_may_have_missed_more_and_hears_so(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(upstream.url)
    peer, session = await stage.greeted(relay.url, client_id="ada")
    transport = peer.socket._response.connection.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.pause_reading()
    await script.send(5)  # which the kernel takes, and nobody reads
    await settled(relay, 5)
    cut(peer)
    await until(lambda: relay.gauges().clients == 0)
    await script.send(2)
    await settled(relay, 7)
    again = await stage.connect(relay.url, session, {"client_id": "ada"})
    verdict = corner(await again.message("connection_established"))
    assert (verdict["recovered"], verdict["reason"]) == (False, "unknown")
    assert await numbers(again, 2) == [6, 7]  # these were sent to nobody before
    assert relay.numbers.recoveries == {"unknown": 1}


async def test_a_name_that_was_sent_nothing_before_its_line_was_cut_has_missed_all_of_it(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(upstream.url)
    peer, session = await stage.greeted(relay.url, client_id="ada")
    cut(peer)
    await until(lambda: relay.gauges().clients == 0)
    await script.send(2)
    await settled(relay, 2)
    again = await stage.connect(relay.url, session, {"client_id": "ada"})
    assert corner(await again.message("connection_established"))["recovered"] is True
    assert await numbers(again, 2) == [1, 2]


async def test_whoever_replaces_a_name_hears_that_its_old_line_may_have_lost_some(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(upstream.url)
    peer = await stage.connect(relay.url, query={"client_id": "ada"}, protocols=MARKED)
    session = (await peer.message())["payload"]["session_id"]
    await script.send(2)
    await peer.message()
    cursor = corner(await peer.message())["cursor"]
    second = await stage.connect(relay.url, session, {"client_id": "ada"})
    assert corner(await second.message("connection_established"))["reason"] == "unknown"
    third = await stage.connect(relay.url, session, {"client_id": "ada", "cursor": cursor})
    assert corner(await third.message("connection_established"))["recovered"] is True


async def test_a_name_without_a_session_goes_on_where_it_was_last(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(upstream.url)
    for asked in ("sess_one", "sess_two"):
        peer, session = await stage.greeted(relay.url, asked, client_id="ada")
        await peer.socket.close()
        await until(lambda: relay.gauges().clients == 0)
    await script.send(1)
    await settled(relay, 1)
    again = await stage.connect(relay.url, query={"client_id": "ada"})
    greeting = await again.message("connection_established")
    assert greeting["payload"]["session_id"] == session == "sess_two"
    assert corner(greeting)["recovered"] is True
    assert await numbers(again, 1) == [1]
    _, other = await stage.greeted(relay.url, client_id="ada", user_id="somebody else")
    assert other != session


@pytest.mark.parametrize("session", [None, "sess_one"])
async def test_a_name_whose_session_has_ended_hears_so(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream], session: str | None
) -> None:
    _, upstream = counting
    relay = await stage.open_relay(upstream.url, linger_s=0.0)
    peer, _ = await stage.greeted(relay.url, "sess_one", client_id="ada")
    await peer.socket.close()
    await until(lambda: not relay.sessions)
    again = await stage.connect(relay.url, session, {"client_id": "ada"})
    verdict = corner(await again.message("connection_established"))
    assert (verdict["recovered"], verdict["reason"]) == (False, "other_epoch")


async def test_a_new_session_upstream_begins_a_new_epoch(stage: Stage) -> None:
    script = Counting()

    async def forgetful(connection: Connection) -> None:
        await connection.greet(upstream.new_session_id())
        script.connection = connection
        await connection.until_gone()

    async with ScriptedUpstream(forgetful) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer = await stage.connect(relay.url, protocols=MARKED)
        before = corner(await peer.message())["cursor"].partition(":")[0]
        await script.send(1)
        await peer.message("notification")
        assert script.connection is not None
        await script.connection.cut()
        greeting = await peer.message("connection_established")
        epoch, _, seq = corner(greeting)["cursor"].partition(":")
        assert epoch != before
        assert seq == "1"  # no number is of two epochs


async def test_a_slow_client_is_closed_with_the_cursor_to_go_on_from(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    script, upstream = counting
    relay = await stage.open_relay(
        upstream.url,
        outbox=OutboxSettings(messages=50, bytes=1_000_000),
        ring_messages=5000,
        ring_bytes=2**30,
    )
    peer = await stage.connect(relay.url, protocols=MARKED)
    session = (await peer.message())["payload"]["session_id"]
    transport = peer.socket._response.connection.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.pause_reading()
    count = 0
    while not relay.numbers.clients_closed[4008] and count < 3000:
        await script.send(50, padding="x" * 20_000)
        count += 50
        await settled(relay, count)
    transport.resume_reading()
    seen = []
    while (message := await peer.socket.receive(timeout=5)).type.name == "TEXT":
        seen.append(message.json()["payload"]["n"])
    assert peer.socket.close_code == 4008
    cursor = str(message.extra).split()[0].removeprefix("cursor=")
    again = await stage.connect(relay.url, session, {"cursor": cursor})
    assert corner(await again.message("connection_established"))["recovered"] is True
    rest = await numbers(again, script.sent - len(seen))
    assert seen + rest == list(range(1, script.sent + 1))


async def test_who_comes_back_by_name_hears_what_became_of_what_it_had_sent(stage: Stage) -> None:
    gateway = await stage.open_gateway(latency_s=60.0)
    relay = await stage.open_relay(gateway.url, wait_s=0.2)
    ada, session = await stage.greeted(relay.url, client_id="ada")
    await ada.send("chat_send", "m1", content="written, and never answered")
    await until(lambda: relay.gauges().requests == 1)
    await gateway.stop()
    await ada.message("status_update")
    await ada.send("chat_send", "m2", content="waits in vain")
    await until(lambda: relay.gauges().waiting_to_upstream == 1)
    await ada.socket.close()
    await until(lambda: relay.numbers.drops["upstream_away"] == 1)
    stage.forget_all(gateway.port)
    gateway = await stage.open_gateway(port=gateway.port)
    await until(lambda: relay.numbers.delivery_unknown == 1, limit_s=15)
    ada, _ = await stage.greeted(relay.url, session, client_id="ada")
    told = [await ada.message("connection_error") for _ in range(2)]
    assert [(each["payload"]["error"], each["metadata"]["reply_to"]) for each in told] == [
        ("upstream_unavailable", "m2"),
        ("delivery_unknown", "m1"),
    ]
    await ada.socket.close()
    await until(lambda: not relay.gauges().clients)
    ada, _ = await stage.greeted(relay.url, session, client_id="ada")  # and hears it once
    with pytest.raises(TimeoutError):
        await ada.text(0.05)
    await relay.stop()
    await gateway.stop()


def pouring(count: int, ended: asyncio.Event) -> Any:
    async def pour(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        for number in range(count):
            await connection.send("count", {"n": number, "pad": "x" * 200_000})
        await connection.close(4508, "logged out elsewhere")
        ended.set()

    return pour


OUTBOX = {"bytes": 64 * 1024 * 1024}


async def test_what_stands_in_an_outbox_is_delivered_before_the_close_of_a_session_that_ended(
    stage: Stage,
) -> None:
    ended = asyncio.Event()
    async with ScriptedUpstream(pouring(100, ended)) as upstream:
        settings = OutboxSettings(**OUTBOX)
        relay = await stage.open_relay(upstream.url, outbox=settings)
        peer, _ = await stage.greeted(relay.url)
        await peer.send("x", "go")
        await ended.wait()
        await until(lambda: not relay.sessions)
        assert relay.gauges().outbox_messages > 0
        await peer.send("x", "too late")
        told = [await peer.message() for _ in range(101)]
        assert [each["payload"]["n"] for each in told[:100]] == list(range(100))
        assert told[100]["payload"]["message"] == "the session ended upstream"
        assert told[100]["metadata"]["reply_to"] == "too late"
        assert await peer.close_code() == 4508
        assert not relay.numbers.drops


async def test_what_nobody_reads_at_the_end_of_a_session_is_counted_as_lost(stage: Stage) -> None:
    ended = asyncio.Event()
    async with ScriptedUpstream(pouring(100, ended)) as upstream:
        settings = OutboxSettings(**OUTBOX, stall_s=0.3)
        relay = await stage.open_relay(upstream.url, outbox=settings)
        peer, _ = await stage.greeted(relay.url)
        await peer.send("x", "go")
        await ended.wait()
        await until(lambda: relay.numbers.clients_closed[4508])
        had = 0
        with contextlib.suppress(AssertionError):
            while True:
                had += (await peer.message())["type"] == "count"
        lost = relay.numbers.drops["slow_client"]
        assert lost > 0
        assert had + lost <= 100


async def test_coming_and_going_during_traffic_leaves_no_gap_and_no_repeat(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream]
) -> None:
    """200 times here, from one seed; a thousand in the long run."""
    chance = random.Random(7)
    script, upstream = counting
    relay = await stage.open_relay(upstream.url, ring_messages=100_000)
    _, session = await stage.greeted(relay.url)
    going = True

    async def traffic() -> None:
        while going:
            await script.send(chance.randint(1, 20))
            await asyncio.sleep(0.002)

    async def come_and_go() -> list[int]:
        seen: list[int] = []
        cursor = ""
        for _ in range(40):
            query = {"cursor": cursor} if cursor else {}
            peer = await stage.connect(relay.url, session, query, protocols=MARKED)
            cursor = corner(await peer.message("connection_established"))["cursor"]
            for _ in range(chance.randint(0, 30)):
                message = await peer.message("notification")
                cursor = corner(message)["cursor"]
                seen.append(message["payload"]["n"])
            await peer.socket.close()
        return seen

    async with asyncio.TaskGroup() as group:
        group.create_task(traffic())
        travellers = [group.create_task(come_and_go()) for _ in range(5)]
        all_seen = [await each for each in travellers]
        going = False
    for seen in all_seen:
        assert len(seen) > 100
        assert seen == list(range(seen[0], seen[0] + len(seen)))


@pytest.mark.parametrize("named", [True, False])
async def test_what_a_slow_client_had_not_read_when_a_new_session_began_it_has_missed(
    stage: Stage, counting: tuple[Counting, ScriptedUpstream], named: bool
) -> None:
    script, upstream = counting
    outbox = OutboxSettings(stall_s=0.5, bytes=50_000_000)
    relay = await stage.open_relay(upstream.url, outbox=outbox)
    name = {"client_id": "ada"} if named else {}
    peer, _ = await stage.greeted(relay.url, **name)
    transport = peer.socket._response.connection.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.pause_reading()
    await script.send(30, text="x" * 500_000)
    await until(lambda: relay.local_clients[0].outbox.waiting_messages > 1)

    async def begin_anew(connection: Connection) -> None:
        await connection.greet("sess_new")
        script.connection = connection
        await connection.until_gone()

    upstream.script = begin_anew
    assert script.connection is not None
    await script.connection.cut()
    await until(lambda: relay.numbers.resumes["new_session"])
    cursor = relay.local_clients[0].cursor
    await until(lambda: relay.numbers.clients_closed[4008] == 1, limit_s=10)
    cut(peer)
    again = await stage.connect(relay.url, "sess_new", name or {"cursor": str(cursor)})
    verdict = corner(await again.message("connection_established"))
    assert (verdict["recovered"], verdict.get("reason")) == (False, "too_old")
