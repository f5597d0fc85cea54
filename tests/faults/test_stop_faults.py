"""How a relay ends, asked or not: who was there is told, and what was recorded reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.faults.upstreams import Lasting, answer, echo
from tests.faults.watcher import Ledger, Watcher
from tests.support.processes import Process
from tests.support.upstream import Connection, Gone


async def keep_asking(client: Watcher) -> None:
    """Ask as fast as answers come, until the relay hangs up."""
    while not client.closed.is_set():
        try:
            await client.ask("hello")
        except ConnectionError:
            return
        await asyncio.sleep(0.002)


async def verified(rig: Rig) -> dict[str, object]:
    done: Process = await asyncio.to_thread(
        rig.processes.run, "recordings", "verify", "last", "--json", "--no-secrets"
    )
    verdict: dict[str, object] = json.loads(done.output)
    return verdict


async def test_sigterm_under_load_answers_everything_accepted_and_says_1012(rig: Rig) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(server.url, record=True)
    clients = [await rig.client() for _ in range(10)]
    asking = [asyncio.ensure_future(keep_asking(client)) for client in clients]
    for client in clients:
        await client.until(lambda client=client: client.ledger.counted()["reply"] > 50)  # type: ignore[misc]
    began = time.monotonic()
    rig.relay.signal(signal.SIGTERM)
    assert await rig.ends() == 0
    assert time.monotonic() - began < 10
    await asyncio.gather(*asking)
    for client in clients:
        await asyncio.wait_for(client.closed.wait(), 5)
        assert client.close_code == 1012
        counts = client.ledger.counted()
        assert counts["reply"] > 50
        assert set(counts) <= {"reply", "error"}  # what comes when the work is over is refused
    verdict = await verified(rig)
    assert verdict["clean"] is True
    shown = await asyncio.to_thread(
        rig.processes.run,
        *("recordings", "show", "last", "--jsonl", "--type", "chat_send"),
    )
    accepted = {json.loads(line)["id"] for line in shown.output.splitlines()}
    assert len(accepted) > 500
    for client in clients:  # what is open was never read by the relay
        assert not accepted & set(client.ledger.open)


@pytest.mark.parametrize("validation", ["off", "warn"])
async def test_dedicated_clients_that_ask_while_the_relay_stops_hear_of_everything(
    rig: Rig, validation: str
) -> None:
    """What went up is answered; what came too late is refused, and did not go up."""
    heard: list[str] = []

    async def answers_late(connection: Connection) -> None:
        async def late(message: dict[str, Any]) -> None:
            await asyncio.sleep(0.1)
            with contextlib.suppress(Gone):
                await answer(connection, message)

        await connection.greet()
        async with asyncio.TaskGroup() as answering:
            with contextlib.suppress(Gone):
                while True:
                    message = await connection.receive()
                    heard.append(message["id"])
                    answering.create_task(late(message))

    async def go_on(client: Watcher) -> None:
        with contextlib.suppress(ConnectionError):
            while not client.closed.is_set():
                await client.ask("hello")
                await asyncio.sleep(0.01)

    server = await rig.upstream(answers_late)
    settings = {"mode": "dedicated", "drain_s": 4.0, "validation": validation}
    await rig.open_relay(server.url, relay=settings)
    clients = [await rig.client() for _ in range(5)]
    asking = [asyncio.ensure_future(go_on(client)) for client in clients]
    for client in clients:
        await client.until(lambda client=client: client.ledger.counted()["reply"] > 10)  # type: ignore[misc]
    rig.relay.signal(signal.SIGTERM)
    assert await rig.ends() == 0
    await asyncio.gather(*asking)
    for client in clients:
        await asyncio.wait_for(client.closed.wait(), 5)
        assert client.close_code == 1012
        outcomes = client.ledger.outcomes
        refused = {name for name, ends in outcomes.items() if ends == ["error"]}
        assert len(refused) > 5
        assert set(client.errors()) == {"upstream_unavailable"}
        assert not refused & set(heard)
        assert all(outcomes[name] == ["reply"] for name in outcomes if name in heard)


async def test_what_the_rate_limit_holds_of_a_dedicated_client_when_the_relay_ends_is_told(
    rig: Rig,
) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(
        server.url,
        relay={"mode": "dedicated", "drain_s": 0.8},
        limits={"messages_per_second": 2, "burst": 1, "queue": 5},
    )
    client = await rig.client()
    for _ in range(20):
        await client.ask("hello")
    await client.until(lambda: client.ledger.counted()["reply"])
    rig.relay.signal(signal.SIGTERM)
    assert await rig.ends() == 0
    await asyncio.wait_for(client.closed.wait(), 5)
    assert client.close_code == 1012
    assert not client.ledger.open
    counts = client.ledger.counted()
    assert set(counts) == {"reply", "error"}
    assert counts["error"] > 10


async def test_a_second_sigterm_stops_at_once_whatever_is_under_way(rig: Rig) -> None:
    async def never(connection: object, message: object) -> None:
        """The answer stays away."""

    upstream = Lasting()
    upstream.heard = never  # type: ignore[method-assign]
    server = await rig.upstream(upstream)
    await rig.open_relay(server.url, relay={"drain_s": 60.0}, record=True)
    client = await rig.client()
    await client.ask("hello")
    async with asyncio.timeout(5):
        while not upstream.received:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    rig.relay.signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        while (await rig.http.get(f"{rig.admin}/readyz")).status != 503:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    assert rig.relay.alive
    began = time.monotonic()
    rig.relay.signal(signal.SIGTERM)
    assert await rig.ends() == 0
    assert time.monotonic() - began < 10  # and not the 60 s of the drain
    await asyncio.wait_for(client.closed.wait(), 5)
    assert client.close_code == 1012


async def test_killed_and_started_again_old_cursors_are_refused_by_name_and_sessions_go_on(
    rig: Rig,
) -> None:
    upstream = Lasting()
    server = await rig.upstream(upstream)
    await rig.open_relay(server.url, record=True)
    before = await rig.client()
    await before.ask("hello")
    await before.settled()
    session, cursor = before.session, str(before.cursor)
    rig.relay.kill()
    await asyncio.wait_for(before.closed.wait(), 5)
    assert (await verified(rig))["clean"] is False

    await rig.open_relay(server.url, record=True)
    told = json.loads(await rig.logged("recording.found_unclean"))
    assert "was killed; the file reads" in told["meaning"]
    assert await asyncio.to_thread(Path(told["path"]).is_file)
    assert told["hint"] == f"megabot recordings verify {Path(told['path']).parent}"
    after = await rig.client(Ledger(), session_id=session, cursor=cursor)
    corner = after.of_type("connection_established")[0]["metadata"]["megabot"]
    assert (corner["recovered"], corner["reason"]) == (False, "other_epoch")
    assert after.session == session
    await after.ask("again")
    assert await after.settled() == {"reply": 1}


@pytest.mark.parametrize(
    ("back", "expected"),
    [(3, "recovered"), (4, "too_old"), (0, "recovered"), (-1, "ahead")],
    ids=["oldest-1", "oldest-2", "top", "top+1"],
)
async def test_cursors_at_the_edges_of_what_is_kept(rig: Rig, back: int, expected: str) -> None:
    upstream = Lasting()
    server = await rig.upstream(upstream)
    await rig.open_relay(server.url, relay={"ring_messages": 3})
    client = await rig.client()
    await upstream.tell(10)
    await client.until(lambda: len(client.of_type("notification")) == 10)
    epoch, _, top = str(client.cursor).rpartition(":")
    again = await rig.client(session_id=client.session, cursor=f"{epoch}:{int(top) - back}")
    corner = again.of_type("connection_established")[0]["metadata"]["megabot"]
    assert corner.get("reason", "recovered") == expected
    if expected == "recovered" and back:
        await again.until(lambda: len(again.of_type("notification")) == back)
        told = [each["payload"]["n"] for each in again.of_type("notification")]
        assert told == list(range(10 - back, 10))
