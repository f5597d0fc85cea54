"""The gateway starts where it is told, and stops without leaving anything."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.server import Gateway
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import Closed, House, Peer
from tests.gateway.test_slow_clients import deaf_client


def new_gateway(listen: str = "127.0.0.1:0", **more: Any) -> Gateway:
    settings = GatewaySettings(listen=listen, **more)
    users = Users.in_memory(cost=2)
    users.add("ada", "lovelace")
    return Gateway(settings, LimitSettings(), users, keys=Keys.in_memory())


async def test_port_0_is_a_free_port_that_the_url_names() -> None:
    gateway = new_gateway(":0")
    await gateway.start()
    assert gateway.port > 0
    assert gateway.url == f"ws://127.0.0.1:{gateway.port}/ws"
    await gateway.stop()


async def test_a_port_in_use_is_a_clear_error_and_leaves_nothing(house: House) -> None:
    second = new_gateway(f"127.0.0.1:{house.gateway.port}")
    with pytest.raises(BadConfiguration, match=str(house.gateway.port)):
        await second.start()
    async with house.connected() as peer:
        await peer.answer(await peer.say("the first one stays"))


@pytest.mark.parametrize("listen", ["nonsense", "host:", "127.0.0.1:99999", "203.0.113.1:0"])
async def test_an_address_that_cannot_be_had_is_a_clear_error(listen: str) -> None:
    with pytest.raises(BadConfiguration):
        await new_gateway(listen).start()


async def test_a_data_folder_that_cannot_be_used_is_a_clear_error(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    (tmp_path / "gateway.sqlite3").write_bytes(b"this is no database " * 100)
    with pytest.raises(BadConfiguration, match="data file"):
        await open_house(data=tmp_path)


@pytest.mark.alone
async def test_stopping_closes_connections_with_1012_and_cancels_answers(
    open_house: OpenHouse,
) -> None:
    house = await open_house(gateway={"latency_s": 60.0})
    async with house.connected() as peer:
        await peer.say("never answered")
        await peer.send(
            "tool_call",
            {"tool_name": "sleep", "parameters": {"seconds": 60}, "execution_id": "e"},
        )
        closing = asyncio.ensure_future(peer.closed())
        began = time.monotonic()
        await house.gateway.stop()
        assert time.monotonic() - began < 1.5
        assert await closing == 1012
    assert house.gateway.connection_count == 0


@pytest.mark.alone
async def test_a_peer_that_does_not_answer_the_close_delays_stopping_less_than_a_second(
    house: House,
) -> None:
    async with deaf_client(house), house.connected():
        began = time.monotonic()
        await house.gateway.stop()
        assert time.monotonic() - began < 1.5


async def test_after_stopping_the_port_is_free_again() -> None:
    gateway = new_gateway()
    await gateway.start()
    listen = f"127.0.0.1:{gateway.port}"
    async with aiohttp.ClientSession() as http, http.get(gateway.http_url + "/healthz"):
        await gateway.stop()
    again = new_gateway(listen)
    await again.start()
    await again.stop()


async def test_stopping_twice_or_before_the_start_does_nothing() -> None:
    gateway = new_gateway()
    await gateway.stop()
    await gateway.start()
    await gateway.stop()
    await gateway.stop()


async def test_dropping_all_is_seen_as_a_lost_link(house: House) -> None:
    async with house.connected() as one, house.connected() as other:
        await house.gateway.drop_all()
        assert house.gateway.connection_count == 0
        for peer in (one, other):
            with pytest.raises(Closed) as end:
                await peer.next()
            assert end.value.code == 1006
    async with house.connected(session_id=one.session_id) as peer:
        assert peer.session_id == one.session_id


async def test_connections_that_come_and_go_leave_nothing_behind(house: House) -> None:
    async def visit(n: int) -> None:
        async with house.connected() as peer:
            await peer.say("hi")
            if n % 3 == 0:
                await peer.until("chat_stream")
            if n % 2 == 0:
                transport = peer.socket._response.connection
                assert transport is not None
                assert transport.transport is not None
                transport.transport.abort()

    for start in range(0, 200, 20):
        await asyncio.gather(*(visit(start + n) for n in range(20)))
    async with asyncio.timeout(5):
        while house.gateway.connection_count:  # noqa: ASYNC110 (seen from outside)
            await asyncio.sleep(0.01)


def test_it_serves_on_uvloop_too() -> None:
    async def conversation() -> None:
        gateway = new_gateway(latency_s=0, chunk_delay_s=0)
        await gateway.start()
        async with aiohttp.ClientSession() as http:
            body = {"username": "ada", "password": "lovelace"}
            async with http.post(gateway.http_url + "/api/auth/login", json=body) as response:
                token = (await response.json())["token"]
            async with http.ws_connect(gateway.url, params={"token": token}) as socket:
                peer = Peer(socket)
                await peer.next()
                await peer.answer(await peer.say("on uvloop"))
                dropping = asyncio.ensure_future(peer.closed())
                await gateway.drop_all()
                assert await dropping == 1006
        await gateway.stop()
        assert len(asyncio.all_tasks()) == 1

    uvloop.run(conversation())
