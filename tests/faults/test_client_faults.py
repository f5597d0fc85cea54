"""Clients that stop, crawl, die, come twice or all at once: the others notice nothing."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.faults.upstreams import Lasting, answer, content, echo
from tests.faults.watcher import Ledger, Watcher
from tests.relay.conftest import until
from tests.support.upstream import Connection


class Flood:
    """An upstream that sends numbered notifications at a pace, for as long as it is told to.

    A machine that is too slow for the pace gets the one it can keep: what could not be sent in
    time is not made up for, or clients who are in this process too would never catch up.
    """

    ARREARS_S = 0.02

    def __init__(self, a_second: int, text_bytes: int = 500) -> None:
        self.a_second = a_second
        self.text = "x" * text_bytes
        self.sent = 0
        self.running = True

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        reading = asyncio.ensure_future(connection.until_gone())
        due, then = 0.0, time.monotonic()
        while self.running and not reading.done():
            now = time.monotonic()
            due += min(now - then, self.ARREARS_S) * self.a_second
            then = now
            while due >= 1.0:
                due -= 1.0
                payload = {"n": self.sent, "at": time.monotonic(), "text": self.text}
                self.sent += 1
                await connection.send("notification", payload)
            await asyncio.sleep(0.005)
        await reading


async def raw_client(url: str, *, window: int = 4096) -> socket.socket:
    """A WebSocket that is open, and read by nobody unless the test reads."""
    host, port = url.split("/")[2].split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (host, int(port)))
    request = (
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await loop.sock_sendall(sock, request.encode())
    assert (await loop.sock_recv(sock, 12)).endswith(b"101")
    return sock


@pytest.mark.parametrize("how", ["never reads", "reads 1 KB/s"])
async def test_a_client_that_hardly_reads_is_given_up_with_its_cursor_and_nobody_notices(
    rig: Rig, how: str
) -> None:
    flood = Flood(500, 4000)  # the system's own buffers are full within a second or two
    server = await rig.upstream(flood)
    await rig.open_relay(
        server.url,
        relay={
            "mode": "shared",
            "heartbeat_s": 60.0,  # nobody of this test is to be closed for silence
            "outbox": {"messages": 500, "bytes": 1_000_000, "stall_s": 2.0},
        },
    )
    reader = await rig.client()
    memory = rig.memory_bytes()
    slow = await raw_client(rig.url)
    loop = asyncio.get_running_loop()
    heard = 0
    async with asyncio.timeout(30):
        while not await rig.metric('clients_closed_total{code="4008"}'):
            if how != "never reads":
                heard += len(await loop.sock_recv(slow, 100))
            await asyncio.sleep(0.1)
    slow.close()
    await rig.logged("4008")
    assert rig.memory_bytes() - memory < 16 * 1024 * 1024
    numbers = [each["payload"]["n"] for each in reader.of_type("notification")]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert reader.statuses() == []  # the link's pongs were not held up
    flood.running = False


SLEEPER = Path(__file__).with_name("sleeper.py")


@pytest.mark.timeout(120)
async def test_a_client_stopped_for_long_goes_on_without_a_gap_or_a_repeat(rig: Rig) -> None:
    flood = Flood(40)
    server = await rig.upstream(flood)
    await rig.open_relay(server.url, relay={"heartbeat_s": 1.0, "mode": "shared"})
    sleeper = rig.processes.start("sleeper", [sys.executable, str(SLEEPER), rig.url])
    await asyncio.to_thread(sleeper.wait_for_line, "20")
    sleeper.signal(signal.SIGSTOP)
    await rig.metric_reaches("clients_accepted_total", 1)
    async with asyncio.timeout(20):
        while await rig.metric("clients"):  # noqa: ASYNC110  another process's state
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)
    sleeper.signal(signal.SIGCONT)
    await asyncio.to_thread(sleeper.wait_for_line, "greeted True", 20)
    flood.running = False
    last = str(flood.sent - 1)
    await asyncio.to_thread(sleeper.wait_for_line, last, 20)
    sleeper.kill()
    numbers = [int(line) for line in sleeper.lines if line.isdigit()]
    assert numbers == list(range(numbers[0], flood.sent))


@pytest.mark.timeout(180)
@pytest.mark.alone
async def test_attaching_a_thousand_times_during_2000_messages_a_second_has_no_gap_and_no_repeat(
    rig: Rig,
) -> None:
    chance = random.Random(7)
    flood = Flood(2000)
    server = await rig.upstream(flood)
    await rig.open_relay(
        server.url,
        relay={"mode": "shared", "ring_bytes": 32 * 1024 * 1024, "ring_messages": 20_000},
    )
    attached = 0

    async def come_and_go(times: int) -> None:
        nonlocal attached
        ledger, cursor, expected = Ledger(), None, None
        for _ in range(times):
            query: dict[str, str] = {} if cursor is None else {"cursor": cursor}
            client = await rig.client(ledger, **query)
            greeting = client.of_type("connection_established")[0]["metadata"]["megabot"]
            assert greeting.get("recovered", True), greeting
            attached += 1
            # What it missed and a few more: on a slow machine, too, nobody falls behind for good.
            enough = flood.sent + chance.randrange(20)
            await client.until(lambda: client.messages[-1]["payload"].get("n", 0) >= enough)  # noqa: B023
            await client.leave()
            numbers = [each["payload"]["n"] for each in client.of_type("notification")]
            first = numbers[0] if expected is None else expected
            assert numbers == list(range(first, first + len(numbers)))
            expected, cursor = first + len(numbers), client.cursor
            rig.watchers.remove(client)

    await asyncio.gather(*(come_and_go(125) for _ in range(8)))
    flood.running = False
    assert attached == 1000
    assert flood.sent > 2000


async def test_the_same_client_id_twice_replaces_the_first_and_its_cursor_stays_good(
    rig: Rig,
) -> None:
    upstream = Lasting()
    server = await rig.upstream(upstream)
    await rig.open_relay(server.url)
    ledger = Ledger()
    first = await rig.client(ledger, client_id="me")
    await upstream.tell(3)
    await first.until(lambda: len(first.of_type("notification")) == 3)
    second = await rig.client(ledger, client_id="me", session_id=first.session)
    await asyncio.wait_for(first.closed.wait(), 5)
    assert first.close_code == 4503
    await upstream.tell(2, first=3)
    await second.until(lambda: len(second.of_type("notification")) == 2)
    assert [each["payload"]["n"] for each in second.of_type("notification")] == [3, 4]


@pytest.mark.parametrize("names_what_it_answers", [True, False])
async def test_two_askers_at_once_get_their_own_and_one_that_left_leaves_its_answer_to_nobody(
    rig: Rig, names_what_it_answers: bool
) -> None:
    upstream = Lasting()
    held: list[dict[str, Any]] = []

    async def answers(connection: Connection, message: dict[str, Any]) -> None:
        if content(message) == "late":
            held.append(message)
            return
        more = {"reply_to": message["id"]} if names_what_it_answers else {}
        await connection.send("chat_receive", {"content": content(message)}, **more)

    upstream.heard = answers  # type: ignore[method-assign]
    server = await rig.upstream(upstream)
    await rig.open_relay(server.url, relay={"mode": "shared"})
    ann, bob, gone = [await rig.client() for _ in range(3)]
    for number in range(10):
        await ann.ask(f"ann {number}")
        await bob.ask(f"bob {number}")

    def heard(client: Watcher) -> list[str]:
        return [content(each) for each in client.of_type("chat_receive")]

    for client, name in ((ann, "ann"), (bob, "bob")):
        await client.until(lambda client=client: len(heard(client)) == 10)  # type: ignore[misc]
        assert heard(client) == [f"{name} {number}" for number in range(10)]
    for client in (ann, bob):
        client.ledger.outcomes.clear()
    await gone.ask("late")
    await until(lambda: held)
    gone.ledger.outcomes.clear()
    await gone.leave()
    await ann.ask("next")
    await asyncio.sleep(0.2)
    assert upstream.connection is not None
    (message,) = held
    more = {"reply_to": message["id"]} if names_what_it_answers else {}
    await upstream.connection.send("chat_receive", {"content": "late"}, **more)
    await ann.until(lambda: "next" in heard(ann))
    assert "late" not in heard(ann) + heard(bob)
    ann.ledger.outcomes.clear()  # it was answered without being named


@pytest.mark.parametrize("executors", [0, 1, 3])
async def test_a_tool_call_is_carried_out_once_also_when_its_executor_is_killed(
    rig: Rig, executors: int
) -> None:
    upstream = Lasting()
    results: list[dict[str, Any]] = []

    async def notes(connection: Connection, message: dict[str, Any]) -> None:
        if message["type"] == "tool_result":
            results.append(message["payload"])
        await answer(connection, message)

    upstream.heard = notes  # type: ignore[method-assign]
    server = await rig.upstream(upstream)
    await rig.open_relay(server.url, relay={"mode": "shared"})
    onlooker = await rig.client()
    hands = [await rig.client(role="executor") for _ in range(executors)]
    assert upstream.connection is not None

    def executions(client: Watcher) -> list[str]:
        return [str(each["payload"]["execution_id"]) for each in client.of_type("tool_call")]

    async def call(name: str) -> None:
        assert upstream.connection is not None
        payload = {"tool_name": "echo", "execution_id": name, "parameters": {}}
        await upstream.connection.send("tool_call", payload)
        await onlooker.until(
            lambda: (
                sum(e["payload"]["execution_id"] == name for e in onlooker.of_type("tool_call"))
                == 1
            )
        )

    def result(name: str) -> str:
        payload = {"execution_id": name, "status": "completed", "output": "done"}
        return json.dumps(
            {"id": f"r_{name}_{time.monotonic_ns()}", "type": "tool_result", "payload": payload}
        )

    await call("e1")
    everyone = [onlooker, *hands]
    if not executors:
        for client in (onlooker, onlooker):  # twice: the first counts
            await client.send(result("e1"))
    else:
        await hands[0].until(lambda: hands[0].of_type("tool_call"))
        for client in reversed(everyone):  # the executor is the last but one to answer
            await client.send(result("e1"))
    expected = 1 if not executors else len(everyone) - 1

    def refused() -> int:
        return sum(len(client.errors()) for client in everyone)

    await until(lambda: results and refused() >= expected)
    await asyncio.sleep(0.2)
    assert [each["execution_id"] for each in results] == ["e1"]
    assert refused() == expected
    if not executors:
        return
    await call("e2")
    await hands[0].until(lambda: len(hands[0].of_type("tool_call")) == 2)
    hands[0].socket._response.connection.transport.abort()  # type: ignore[union-attr]  # as kill -9
    await until(lambda: len(results) == 2)
    assert (results[1]["execution_id"], results[1]["status"]) == ("e2", "failed")
    assert all(len(hand.of_type("tool_call")) <= 2 for hand in hands)
    assert not any(
        "read_only" not in call["metadata"]["megabot"]
        for hand in hands[1:]
        for call in hand.of_type("tool_call")
    )


@pytest.mark.alone
@pytest.mark.timeout(120)
async def test_256_clients_that_come_back_at_once_are_all_served_soon(rig: Rig) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(server.url, relay={"mode": "shared", "heartbeat_s": 10.0})
    clients = [await rig.client(client_id=f"c{number}") for number in range(256)]
    for client in clients:
        client.socket._response.connection.transport.abort()  # type: ignore[union-attr]
    began = time.monotonic()
    back = await asyncio.gather(*(rig.client(client_id=f"c{number}") for number in range(256)))
    for client in back:
        await client.ask("hello")
    for client in back:
        assert await client.settled() == {"reply": 1}
    assert time.monotonic() - began < 10
