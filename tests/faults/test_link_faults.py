"""What the network and the upstream do to a link, and what its clients feel of that."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.faults.upstreams import Lasting, answer, content, echo
from tests.faults.watcher import Ledger
from tests.support.upstream import Connection

LINK_IS_UP = 'links{profile="default",state="up"}'


async def test_reset_in_the_middle_of_a_stream_clients_stay_and_the_session_goes_on(
    rig: Rig,
) -> None:
    upstream = Lasting()

    async def breaks_off(connection: Connection, message: dict[str, Any]) -> None:
        if content(message) != "break":
            await answer(connection, message)
            return
        for number in range(1, 6):
            chunk = {"chunk": "x", "is_complete": False, "sequence": number}
            await connection.send("chat_stream", chunk, reply_to=message["id"])
        await asyncio.sleep(0.1)
        network.cut()

    upstream.heard = breaks_off  # type: ignore[method-assign]
    server = await rig.upstream(upstream)
    network = await rig.network(server.url)
    await rig.open_relay(network.url())
    asker, other = await rig.client(), await rig.client(session_id="sess_other")
    broken = await asker.ask("break")
    await asker.until(lambda: "connected" in asker.statuses())
    assert asker.statuses()[:2] == ["reconnecting", "connected"]
    after = await asker.ask("after it")
    assert await asker.settled() == {"reply": 1, "unknown": 1}
    assert asker.ledger.outcomes == {broken: ["unknown"], after: ["reply"]}
    assert len(asker.of_type("chat_stream")) == 5 + 2
    await other.ask("the other one's link was cut too")
    await other.settled()
    assert await rig.metric('resumes_total{verdict="resumed"}') >= 2


async def test_half_open_is_found_out_by_ping_and_what_was_sent_is_told_unknown(rig: Rig) -> None:
    server = await rig.upstream(echo)
    network = await rig.network(server.url)
    await rig.open_relay(network.url(), relay={"heartbeat_s": 0.5})
    client = await rig.client()
    await client.ask("before")
    await client.settled()
    network.jam()
    began = time.monotonic()
    await client.ask("into the void")
    await client.until(lambda: "reconnecting" in client.statuses())
    assert time.monotonic() - began < 5
    network.cut()
    network.clear()
    await client.until(lambda: "connected" in client.statuses())
    await client.ask("after")
    assert await client.settled() == {"reply": 2, "unknown": 1}


@pytest.mark.timeout(120)
async def test_down_for_long_with_100_clients_each_message_is_answered_and_none_flushed_stale(
    rig: Rig,
) -> None:
    """Five minutes in eight seconds: what may wait 30 s waits 0.8 s here."""
    upstream = Lasting()
    server = await rig.upstream(upstream)
    network = await rig.network(server.url)
    await rig.open_relay(
        network.url(), relay={"wait_s": 0.8, "wait_messages": 100, "mode": "shared"}
    )
    clients = [await rig.client() for _ in range(100)]
    memory = rig.memory_bytes()
    network.go_down()
    await clients[0].until(lambda: "reconnecting" in clients[0].statuses())
    dials = await rig.metric("dials_total")
    down_at = time.monotonic()
    for client in clients:
        for _ in range(2):
            await client.ask("stale")
    await asyncio.gather(*(client.settled(20) for client in clients))
    assert time.monotonic() - down_at < 10
    errors = [client.ledger.counted() for client in clients]
    assert sum(each["error"] for each in errors) == 200
    await asyncio.sleep(8 - (time.monotonic() - down_at))
    down_s = time.monotonic() - down_at
    # At most one dial a second. Connections may be more: aiohttp asks again, once, where one is
    # reset between its making and the answer.
    dialled = await rig.metric("dials_total") - dials
    assert 2 <= dialled <= down_s + 1
    assert rig.memory_bytes() - memory < 16 * 1024 * 1024
    network.come_up()
    await clients[0].until(lambda: "connected" in clients[0].statuses(), 40)
    for client in clients:
        await client.ask("fresh")
    await asyncio.gather(*(client.settled(20) for client in clients))
    assert upstream.received == ["fresh"] * 100


async def test_a_refused_resume_is_told_as_a_new_session_and_old_cursors_are_void(rig: Rig) -> None:
    upstream = Lasting()
    server = await rig.upstream(upstream)
    network = await rig.network(server.url)
    await rig.open_relay(network.url())
    client = await rig.client()
    await client.ask("hello")
    await client.settled()
    cursor, epoch = client.cursor, str(client.cursor).rpartition(":")[0]
    upstream.forgets = True
    network.cut()
    await client.until(lambda: len(client.of_type("connection_established")) == 2)
    assert any("new_session" in each["payload"].get("message", "") for each in client.messages)
    assert str(client.cursor).rpartition(":")[0] != epoch
    session = client.of_type("connection_established")[1]["payload"]["session_id"]
    again = await rig.client(session_id=session, cursor=str(cursor))
    corner = again.of_type("connection_established")[0]["metadata"]["megabot"]
    assert (corner["recovered"], corner["reason"]) == (False, "other_epoch")
    await client.ask("on the new one")
    await client.settled()


async def test_fifty_messages_repeated_after_a_resume_come_once(rig: Rig) -> None:
    upstream = Lasting()
    server = await rig.upstream(upstream)
    network = await rig.network(server.url)
    await rig.open_relay(network.url())
    client = await rig.client()
    assert upstream.connection is not None
    said = [
        json.dumps({"id": f"n{n}", "type": "notification", "payload": {"n": n}}) for n in range(60)
    ]
    for text in said[:50]:
        await upstream.connection.send_text(text)
    await client.until(lambda: len(client.of_type("notification")) == 50)
    network.cut()
    await client.until(lambda: "connected" in client.statuses())
    for text in said:
        await upstream.connection.send_text(text)
    await client.until(lambda: len(client.of_type("notification")) >= 60)
    assert [each["payload"]["n"] for each in client.of_type("notification")] == list(range(60))
    assert await rig.metric('dropped_messages_total{reason="duplicate"}') == 50


async def test_the_upstreams_rate_limit_slows_the_link_loses_nothing_and_is_fair(rig: Rig) -> None:
    limit_s, allowed = 1.0, 10
    times: list[float] = []
    arrived: list[str] = []

    async def objects(connection: Connection, message: dict[str, Any]) -> None:
        now = time.monotonic()
        arrived.append(content(message))
        times[:] = [at for at in times if at > now - limit_s]
        if len(times) >= allowed:
            refusal = {"error": "rate_limited", "message": "too fast", "code": 429}
            await connection.send("connection_error", refusal, reply_to=message["id"])
            return
        times.append(now)
        await answer(connection, message)

    upstream = Lasting()
    upstream.heard = objects  # type: ignore[method-assign]
    server = await rig.upstream(upstream)
    await rig.open_relay(
        server.url,
        relay={"mode": "shared"},
        limits={"messages_per_second": 16, "burst": 16},
    )
    clients = [await rig.client() for _ in range(5)]
    for _ in range(15):
        for number, client in enumerate(clients):
            await client.ask(str(number))
    await asyncio.gather(*(client.settled(40) for client in clients))
    counts = [client.ledger.counted() for client in clients]
    assert all(each["reply"] + each["error"] == 15 for each in counts)
    assert await rig.metric("upstream_rate_limits_total") >= 1
    await rig.logged("link.slowed")
    # Whom the upstream refuses is its affair; whose turn it is to be sent is the relay's.
    for count in (20, 40, 60, 75):
        shares = [arrived[:count].count(str(number)) for number in range(5)]
        assert max(shares) - min(shares) <= max(2.0, 0.2 * count / 5), shares
    refused = sum(each["error"] for each in counts)
    assert refused <= 25  # without giving way every third message would be refused


async def test_an_upstream_that_stands_still_for_seconds_costs_nothing(rig: Rig) -> None:
    """Its loop is blocked for 2 s, with pings each 10 s: nobody is disconnected."""

    async def stops(connection: Connection, message: dict[str, Any]) -> None:
        if content(message) == "stand still":
            time.sleep(2)  # noqa: ASYNC251  that is the fault
        await answer(connection, message)

    upstream = Lasting()
    upstream.heard = stops  # type: ignore[method-assign]
    server = await rig.upstream(upstream)
    await rig.open_relay(server.url, relay={"heartbeat_s": 10.0})
    client = await rig.client()
    for said in ("hello", "stand still", "still there"):
        await client.ask(said)
    assert await client.settled() == {"reply": 3}
    assert client.statuses() == []


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_cuts_while_five_clients_talk_break_no_promise(rig: Rig, seed: int) -> None:
    chance = random.Random(seed)
    server = await rig.upstream(echo)
    network = await rig.network(server.url)
    await rig.open_relay(network.url(), relay={"mode": "shared"})
    clients = [await rig.client(ledger=Ledger()) for _ in range(5)]
    for _ in range(4):
        for _ in range(chance.randrange(5, 30)):
            await chance.choice(clients).ask("hello")
            await asyncio.sleep(chance.random() * 0.01)
        network.cut()
        await asyncio.sleep(chance.random())
    for client in clients:
        await client.settled(40)
        counts = client.ledger.counted()
        assert counts["reply"] > 0
        assert set(counts) <= {"reply", "unknown", "error"}
    await rig.metric_reaches(LINK_IS_UP, 1)
