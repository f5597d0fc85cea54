"""How many may come in, and what those leave behind who may not."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from yarl import URL

from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.index import ADMIN_PAGES, CLIENT_PAGES
from tests.relay.conftest import Stage, until
from tests.support.upstream import ScriptedUpstream


@pytest.mark.parametrize("named", [True, False], ids=["a session", "no session"])
async def test_one_client_too_many_is_closed_4504_and_dials_no_link(
    stage: Stage, gateway: Gateway, named: bool
) -> None:
    relay = await stage.open_relay(gateway.url, max_clients=1)
    await stage.greeted(relay.url)
    refused = await stage.connect(relay.url, "another" if named else None)
    error = (await refused.message("connection_error"))["payload"]
    assert (error["code"], error["error"]) == (429, "too_many_clients")
    assert await refused.close_code() == 4504
    assert len(relay.sessions) == 1
    assert (relay.numbers.dials, relay.numbers.refusals["full"]) == (1, 1)


async def test_one_client_too_many_on_a_session_is_closed_4504_and_others_may_come(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, max_clients_per_session=2)
    first, session = await stage.greeted(relay.url)
    await stage.greeted(relay.url, session)
    refused = await stage.connect(relay.url, session)
    assert await refused.close_code() == 4504
    await stage.greeted(relay.url)
    await first.socket.close()
    await until(lambda: len(relay.local_clients) == 2)
    await stage.greeted(relay.url, session)


@pytest.mark.parametrize("naming", [True, False])
async def test_in_shared_mode_clients_are_bounded_in_all_and_not_by_session(
    stage: Stage, gateway: Gateway, naming: bool
) -> None:
    relay = await stage.open_relay(
        gateway.url, mode="shared", max_clients_per_session=1, max_clients=3
    )
    _, session = await stage.greeted(relay.url)
    asked = session if naming else None
    for _ in range(2):
        _, same = await stage.greeted(relay.url, asked)
        assert same == session
    refused = await stage.connect(relay.url, asked)
    error = (await refused.message("connection_error"))["payload"]
    assert (error["code"], error["error"]) == (429, "too_many_clients")
    assert await refused.close_code() == 4504


async def test_a_name_that_is_too_long_is_refused_and_no_other_ones_place_taken(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    first, _ = await stage.greeted(relay.url, client_id="a" * 128)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await stage.connect(relay.url, query={"client_id": "a" * 129})
    assert refused.value.status == 400
    assert relay.numbers.refusals["client_id"] == 1
    assert not first.socket.closed


async def test_in_dedicated_mode_clients_are_bounded_in_all_and_before_the_upgrade(
    stage: Stage,
) -> None:
    async with ScriptedUpstream() as upstream:
        relay = await stage.open_relay(
            upstream.url, mode="dedicated", max_clients_per_session=1, max_clients=2
        )
        peers = [await stage.greeted(relay.url, "sess_9") for _ in range(2)]
        assert [session for _, session in peers] == ["sess_9"] * 2
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stage.connect(relay.url, "sess_9")
        assert refused.value.status == 503
        for peer, _ in peers:
            await peer.socket.close()
        await relay.stop()


@pytest.mark.parametrize("mode", ["session", "shared"])
@pytest.mark.parametrize("limit", ["max_clients", "max_clients_per_session"])
async def test_where_all_is_full_a_name_still_takes_the_place_of_its_old_connection(
    stage: Stage, gateway: Gateway, mode: str, limit: str
) -> None:
    limits: dict[str, Any] = {limit: 1}
    relay = await stage.open_relay(gateway.url, mode=mode, **limits)
    first, session = await stage.greeted(relay.url, client_id="ada")
    second, _ = await stage.greeted(relay.url, session, client_id="ada")
    assert await first.close_code() == 4503
    third, again = await stage.greeted(relay.url, client_id="ada")
    assert await second.close_code() == 4503
    assert again == session
    await third.send("chat_send", "m1", content="still here")
    assert await third.message("chat_receive")


async def test_of_two_origins_both_must_be_listed(stage: Stage, gateway: Gateway) -> None:
    origin = "http://localhost:5173"
    relay = await stage.open_relay(gateway.url, allowed_origins=[origin])
    for url in (f"{relay.admin_url}/metrics", relay.url.replace("ws:", "http:")):
        headers = [("Origin", origin), ("Origin", "https://evil.example")]
        async with stage.http.get(url, headers=headers) as response:
            assert response.status == 403


async def test_an_address_says_what_there_is_and_what_is_there_is_all(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    clients = relay.url.replace("ws:", "http:").removesuffix("/ws")
    async with stage.http.get(f"{relay.admin_url}/") as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, "text/plain")
        assert text.endswith("\n")
    assert "/readyz" in text
    assert f"Clients connect to {relay.url}" in text
    async with stage.http.get(f"{clients}/") as response:
        assert f"Health and numbers: {relay.admin_url}" in await response.text()
    for base, pages in ((relay.admin_url, ADMIN_PAGES), (clients, CLIENT_PAGES)):
        for method, path, _ in pages:
            url = base + path.replace("{profile}", "test")
            async with stage.http.request(method, url) as response:
                assert response.status not in (404, 405), path
    routed = {
        route.resource.canonical
        for app in (relay._admin.app(), relay._clients.app())
        for route in app.router.routes()
        if route.resource is not None
    }
    assert routed == {"/", *(path for _, path, _ in (*ADMIN_PAGES, *CLIENT_PAGES))}


async def test_a_path_that_is_not_there_is_answered_with_a_guess(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    for path, said in (
        ("/metric", "there is nothing at '/metric'; did you mean '/metrics'?"),
        ("/favicon.ico", "there is nothing at '/favicon.ico'; GET / lists what there is"),
    ):
        async with stage.http.get(relay.admin_url + path) as response:
            assert response.status == 404
            assert (await response.json())["message"] == said
            assert (await response.text()).endswith("}\n")


async def test_a_method_that_a_path_does_not_take_is_answered_with_those_that_it_does(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    clients = relay.url.replace("ws:", "http:").removesuffix("/ws")
    for method, url, allowed in (
        ("POST", f"{relay.admin_url}/metrics", "GET or HEAD"),
        ("GET", f"{relay.admin_url}/relay/close", "POST"),
        ("PUT", f"{clients}/ws", "GET or HEAD"),
    ):
        async with stage.http.request(method, url) as response:
            assert response.status == 405
            assert response.headers["Allow"] == allowed.replace(" or ", ",")
            path = URL(url).path
            assert await response.json() == {
                "error": "method_not_allowed", "message": f"{path} takes {allowed}", "code": 405
            }  # fmt: skip


@pytest.mark.parametrize("where", ["session", "dedicated", "tap", "gateway"])
async def test_a_key_that_is_no_base64_is_a_refusal_and_no_fault(
    stage: Stage, gateway: Gateway, where: str
) -> None:
    mode = where if where == "dedicated" else "session"
    relay = await stage.open_relay(gateway.url, mode=mode)
    url = URL(gateway.url if where == "gateway" else relay.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    path = "/relay/tap" if where == "tap" else "/ws"
    for key in ("", "x", "\xff" * 24, "AAAA"):
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {url.authority}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        writer.write(request.encode("latin-1"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.split()[1] in (b"400", b"426"), (key, head)
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        await reader.readexactly(int(length.split()[1]))
    writer.close()
