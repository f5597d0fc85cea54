"""When a client does not come back: it ends, and everybody who waits hears why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from megabot_cli.client import ClientEvent
from megabot_cli.errors import ConnectionLost, MegabotError, NotAuthenticated, NotPermitted
from megabot_cli.protocol.backoff import FullJitter, Linear
from tests.client.conftest import until
from tests.client.conversations import (
    Twice,
    client_of,
    greet_and_answer,
    greet_then_cut,
    read_all,
)
from tests.support.upstream import Connection, ScriptedUpstream


async def test_without_a_schedule_a_loss_is_the_end() -> None:
    async with (
        ScriptedUpstream(greet_then_cut) as upstream,
        client_of(upstream, reconnect=None) as client,
    ):
        with pytest.raises(ConnectionLost) as loss:
            await client.ask("hello", timeout_s=20)
        assert loss.value.close_code == 1006
        assert client.state == "closed"
        with pytest.raises(ConnectionLost):
            await read_all(client)
        with pytest.raises(ConnectionLost):
            await client.send("custom", {})


async def test_attempts_run_out_and_everybody_who_waits_hears_of_it() -> None:
    async with (
        ScriptedUpstream(greet_then_cut) as upstream,
        client_of(upstream, reconnect=Linear(0.01, 3)) as client,
        asyncio.TaskGroup() as group,
    ):
        reading = group.create_task(outcome(read_all(client)))
        asking = group.create_task(outcome(client.ask("hello")))
        await until(lambda: upstream.connections and client.state == "reconnecting")
        await upstream.stop()
        sending = group.create_task(outcome(client.send("custom", {})))
    faults = [task.result() for task in (reading, asking, sending)]
    assert [type(fault) for fault in faults] == [ConnectionLost] * 3
    assert all("last attempt" in str(getattr(fault, "hint", "")) for fault in faults)
    assert len({id(fault) for fault in faults}) == 3


async def outcome(awaitable: Any) -> BaseException | None:
    try:
        await awaitable
    except Exception as error:
        return error
    return None


async def test_an_upstream_that_greets_and_drops_us_is_not_dialled_for_ever() -> None:
    async def drop(connection: Connection) -> None:
        await connection.greet()
        await connection.cut()

    async with (
        ScriptedUpstream(drop) as upstream,
        client_of(upstream, reconnect=Linear(0.01, 3)) as client,
    ):
        with pytest.raises(ConnectionLost):
            await read_all(client)
    assert len(upstream.connections) == 4


@pytest.mark.parametrize("code", [4503, 4508])
async def test_where_we_are_not_wanted_back_we_do_not_come(code: int) -> None:
    async def dismiss(connection: Connection) -> None:
        await connection.greet()
        await connection.close(code, "that is all")

    async with ScriptedUpstream(dismiss) as upstream, client_of(upstream) as client:
        with pytest.raises(ConnectionLost, match="that is all") as loss:
            await read_all(client)
        assert loss.value.close_code == code
    assert len(upstream.connections) == 1


async def test_an_upstream_that_is_done_ends_the_iteration_and_fails_the_question() -> None:
    async def finish(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        await connection.close(1000)

    async with ScriptedUpstream(finish) as upstream, client_of(upstream) as client:
        with pytest.raises(ConnectionLost, match="ended the connection") as loss:
            await client.ask("hello", timeout_s=20)
        assert loss.value.close_code == 1000
        assert len(await read_all(client)) == 1
    assert len(upstream.connections) == 1


async def test_a_credential_that_is_revoked_is_renewed_before_we_come_back() -> None:
    async def revoke(connection: Connection) -> None:
        await connection.greet()
        await connection.close(4500)

    def renew(_: dict[str, Any]) -> web.Response:
        return web.json_response({"token": "token-2"})

    async with (
        ScriptedUpstream(Twice(revoke, greet_and_answer), on_refresh=renew) as upstream,
        client_of(upstream, username="ada", password="secret") as client,
    ):
        await until(lambda: client.resumed)
        assert (await client.ask("back?", timeout_s=20)).text == "yes"
    sent = [request.headers["Authorization"] for request in upstream.requests]
    assert sent == ["Bearer token-1", "Bearer token-2"]


@pytest.mark.parametrize(("status", "kind"), [(401, NotAuthenticated), (403, NotPermitted)])
async def test_a_refusal_is_not_met_with_the_same_credential_again(
    status: int, kind: type[MegabotError]
) -> None:
    def gate(_: web.Request) -> web.Response | None:
        return web.Response(status=status) if upstream.connections else None

    async with (
        ScriptedUpstream(greet_then_cut, gate=gate) as upstream,
        client_of(upstream, api_key="key", reconnect=FullJitter(0.01, 0.02)) as client,
    ):
        await client.send("custom", {})
        with pytest.raises(kind):
            await read_all(client)
        with pytest.raises(kind):
            await client.send("custom", {})
    assert len(upstream.requests) == 2


async def test_a_busy_upstream_is_left_alone_as_long_as_it_asks() -> None:
    refusals = [web.Response(status=429, headers={"Retry-After": "0.3"})]

    def gate(_: web.Request) -> web.Response | None:
        return refusals.pop() if upstream.connections and refusals else None

    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(Twice(greet_then_cut, greet_and_answer), gate=gate) as upstream,
        client_of(upstream, on_event=events.append) as client,
    ):
        await client.send("custom", {})
        await until(lambda: client.resumed)
    delays = [event.delay_s for event in events if event.kind == "retry"]
    assert delays == [0.01, 0.3]
