"""A door with TLS: who has not begun it, or not ended, is a stranger as any other."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Stage, until
from tests.relay.test_doors import Stranger, address
from tests.relay.test_relay_on_uvloop import name, run_with_gateway
from tests.support.certificates import make_certificate


async def open_with_tls(stage: Stage, gateway: Gateway, **settings: Any) -> Relay:
    files = make_certificate(stage.folder, "127.0.0.1")
    return await stage.open_relay(
        gateway.url,
        tls_cert_file=str(files.cert_file),
        tls_key_file=str(files.key_file),
        **settings,
    )


def trusting(stage: Stage) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(stage.folder / "127.0.0.1.pem"))


async def asks_and_is_answered(
    stage: Stage, relay: Relay, context: ssl.SSLContext | None = None
) -> None:
    context = context or trusting(stage)
    async with MegaBotClient(relay.url, ssl=context, token="the-client-token") as client:
        assert (await client.ask("hello", timeout_s=5)).text


async def test_of_a_crowd_that_begins_no_tls_the_oldest_go_and_who_does_is_served(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_with_tls(stage, gateway, max_unknown=8)
    silent = [await asyncio.open_connection(*address(relay)) for _ in range(20)]
    half = await asyncio.open_connection(*address(relay))
    half[1].write(bytes.fromhex("160301"))
    await until(lambda: relay.strangers == 21)
    await until(lambda: relay.strangers <= 8)
    assert relay.numbers.refusals["crowded"] >= 13
    assert [await Stranger(*each).is_cut() for each in silent[:12]] == [True] * 12
    await asks_and_is_answered(stage, relay)
    for _, writer in (*silent, half):
        writer.close()


async def test_who_is_silent_before_tls_has_no_more_time_than_who_is_silent_after(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_with_tls(stage, gateway, header_deadline_s=0.4)
    before = Stranger(*await asyncio.open_connection(*address(relay)))
    after = Stranger(*await asyncio.open_connection(*address(relay), ssl=trusting(stage)))
    assert await before.is_cut()
    assert await after.is_cut()
    assert relay.numbers.refusals["deadline"] == 2
    assert relay.strangers == 0
    for stranger in (before, after):
        stranger.writer.transport.abort()


async def test_a_relay_that_stops_leaves_nobody_in_a_handshake(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_with_tls(stage, gateway)
    silent = Stranger(*await asyncio.open_connection(*address(relay)))
    await until(lambda: relay.strangers == 1)
    await relay.stop()
    assert await silent.is_cut()
    silent.writer.close()


async def test_what_is_no_tls_is_forgotten_at_once_and_a_client_of_the_crowd_is_kept(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_with_tls(stage, gateway, max_unknown=4)
    for said in (b"GET /ws HTTP/1.1\r\n\r\n", b"\0" * 100):
        reader, writer = await asyncio.open_connection(*address(relay))
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
    await until(lambda: relay.strangers == 0)
    context = trusting(stage)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(asks_and_is_answered(stage, relay, context))
    assert not relay.numbers.refusals["crowded"]


@pytest.mark.parametrize(
    "claim",
    [
        test_of_a_crowd_that_begins_no_tls_the_oldest_go_and_who_does_is_served,
        test_who_is_silent_before_tls_has_no_more_time_than_who_is_silent_after,
        test_a_relay_that_stops_leaves_nobody_in_a_handshake,
        test_what_is_no_tls_is_forgotten_at_once_and_a_client_of_the_crowd_is_kept,
    ],
    ids=name,
)
def test_so_it_is_on_uvloop(
    claim: Callable[[Stage, Gateway], Awaitable[None]], tmp_path: Path
) -> None:
    run_with_gateway(tmp_path, claim)
