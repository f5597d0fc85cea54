"""A message far over the limit ends its connection with 1009, which its sender gets to read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from megabot_cli.client.wire import upstream_transport
from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Stage, until
from tests.relay.test_doors import Stranger
from tests.relay.test_relay_on_uvloop import name, run_with_gateway
from tests.support.upstream import Connection, ScriptedUpstream

MIB = 1 << 20
HEAD = b"\x81\xff" + (8 * MIB).to_bytes(8, "big") + b"\0\0\0\0"
TOO_BIG = (1009).to_bytes(2, "big")


async def raw_client(url: str, headers: str = "") -> Stranger:
    host, port = url.removeprefix("ws://").partition("/")[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    request = (
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
    )
    writer.write(request.encode())
    await reader.readuntil(b"\r\n\r\n")
    return Stranger(reader, writer)


async def sees_1009_after_all_of_it_was_sent(client: Stranger) -> None:
    """As a program does that writes a message before it reads again."""
    client.writer.write(HEAD)
    for _ in range(8):
        client.writer.write(b"x" * MIB)
        await client.writer.drain()
        await asyncio.sleep(0.02)
    said = await asyncio.wait_for(client.reader.read(), 5)
    at = said.rindex(TOO_BIG)
    assert said[at - 2] == 0x88
    assert len(said) == at + said[at - 1], "nothing comes after a close"
    client.writer.close()


async def test_who_reads_only_after_it_has_sent_all_of_it_sees_1009(
    stage: Stage, gateway: Gateway
) -> None:
    for mode in ("session", "dedicated", "shared"):
        relay = await stage.open_relay(gateway.url, mode=mode)
        client = await raw_client(relay.url)
        await sees_1009_after_all_of_it_was_sent(client)
        await until(lambda relay=relay: relay.numbers.clients_closed[1009] == 1)  # type: ignore[misc]
        await until(lambda relay=relay: not relay.gauges().clients)  # type: ignore[misc]


async def test_so_it_is_at_the_gateway(stage: Stage, gateway: Gateway) -> None:
    client = await raw_client(gateway.url, f"X-API-Key: {stage.api_key}\r\n")
    await sees_1009_after_all_of_it_was_sent(client)
    await until(lambda: not gateway.connection_count)


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_a_client_of_aiohttps_sees_it(stage: Stage, gateway: Gateway, mode: str) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    for url, headers in ((relay.url, {}), (gateway.url, {"X-API-Key": stage.api_key})):
        peer = await stage.connect(url, headers=headers)
        await peer.socket.send_bytes(os.urandom(20 * MIB))
        assert await peer.close_code() == 1009


async def test_an_upstream_that_sends_it_sees_it_and_a_session_goes_on(stage: Stage) -> None:
    codes: list[int | None] = []

    async def too_much(connection: Connection) -> None:
        await connection.greet()
        if not codes:
            await connection.send_text("x" * 20 * MIB)
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(too_much) as upstream:
        relay = await stage.open_relay(upstream.url)
        await until(lambda: codes)
        assert codes == [1009]
        await until(lambda: relay.numbers.reconnects, 10)
        await relay.stop()


async def test_an_upstream_of_a_pair_sees_it_and_so_does_the_client(stage: Stage) -> None:
    codes: list[int | None] = []

    async def too_much(connection: Connection) -> None:
        await connection.receive_text()
        await connection.send_text("x" * 20 * MIB)
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(too_much) as upstream:
        relay = await stage.open_relay(upstream.url, mode="dedicated")
        peer = await stage.connect(relay.url)
        await peer.socket.send_str("go")
        message = await peer.socket.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)
        await until(lambda: codes)
        assert codes == [1009]


@pytest.mark.parametrize("mode", ["session", "dedicated"])
async def test_deflate_that_is_none_breaks_the_protocol_and_is_told_so(
    stage: Stage, mode: str
) -> None:
    codes: list[int | None] = []

    async def garbage(connection: Connection) -> None:
        await connection.greet()
        await connection.receive_text()
        await connection.send_raw(b"\xc1\x04\xff\xff\xff\xff")
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(garbage, compress=True) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer, _ = await stage.greeted(relay.url)
        await peer.socket.send_str("go")
        await until(lambda: codes)
        assert codes == [1002]
        if mode == "dedicated":
            assert await peer.close_code() == 1002
        else:
            assert relay.numbers.link_losses == {1002: 1}
        await relay.stop()


async def test_so_it_is_at_the_gateway_which_is_deflated_to(stage: Stage, gateway: Gateway) -> None:
    peer = await stage.connect(gateway.url, headers={"X-API-Key": stage.api_key}, compress=15)
    transport = upstream_transport(peer.socket)
    assert transport is not None
    transport.write(b"\xc1\x84\0\0\0\0\xff\xff\xff\xff")
    assert await peer.close_code() == 1002


async def test_who_never_ends_is_cut_after_a_while(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url)
    client = await raw_client(relay.url)
    client.writer.write(HEAD)
    began = asyncio.get_running_loop().time()
    while not client.writer.transport.is_closing():
        client.writer.write(b"x" * 1000)
        await asyncio.sleep(0.01)
    assert 1.5 < asyncio.get_running_loop().time() - began < 10
    assert not relay.gauges().clients
    client.writer.transport.abort()


@pytest.mark.parametrize(
    "claim",
    [
        test_who_reads_only_after_it_has_sent_all_of_it_sees_1009,
        test_so_it_is_at_the_gateway,
        test_who_never_ends_is_cut_after_a_while,
    ],
    ids=name,
)
def test_so_it_is_on_uvloop(
    claim: Callable[[Stage, Gateway], Awaitable[None]], tmp_path: Path
) -> None:
    run_with_gateway(tmp_path, claim)


@pytest.mark.parametrize("validation", ["off", "warn", "strict"])
@pytest.mark.parametrize("mode", ["session", "dedicated", "shared"])
async def test_an_id_too_long_to_be_remembered_is_refused_without_saying_it_again(
    stage: Stage, gateway: Gateway, mode: str, validation: str
) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode, validation=validation)
    peer, _ = await stage.greeted(relay.url)
    if mode == "dedicated" and validation == "off":
        return  # nobody looks, and nothing is remembered
    await peer.send("chat_send", "x" * 100_000, content="hello")
    refusal = await peer.message()
    assert refusal["payload"]["code"] == 400
    assert "100000 characters; at most 1024" in refusal["payload"]["message"]
    assert "reply_to" not in refusal.get("metadata", {})
    await peer.send("chat_send", "y" * 1024, content="hello")
    assert (await peer.message())["metadata"]["reply_to"] == "y" * 1024
