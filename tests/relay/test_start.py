"""Where the relay listens and whom it lets in, from its first moment."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
import pytest

from megabot_cli.errors import BadConfiguration, NotAuthenticated
from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Stage


async def test_a_foreign_page_and_a_foreign_host_are_refused_before_the_upgrade(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, allowed_origins=["http://localhost:5173"])
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await stage.connect(relay.url, headers=headers)
        assert refused.value.status == 403
    peer = await stage.connect(relay.url, headers={"Origin": "http://localhost:5173"})
    assert (await peer.message())["type"] == "connection_established"


@pytest.mark.parametrize("mode", ["session", "dedicated"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 426),
        ({"Upgrade": "h2c", "Connection": "Upgrade"}, 426),
        ({"Upgrade": "websocket", "Connection": "Upgrade"}, 400),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
        ({"Sec-WebSocket-Key": "%"}, 400),
        ({"Sec-WebSocket-Version": "12"}, 400),
    ],
)
async def test_a_handshake_that_is_none_is_told_from_one_that_is_malformed(
    stage: Stage, gateway: Gateway, headers: dict[str, str], status: int, mode: str
) -> None:
    relay = await stage.open_relay(gateway.url, mode=mode)
    if any(name.startswith("Sec") for name in headers):
        whole = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        headers = {**whole, **headers}
    async with stage.http.get(relay.url.replace("ws:", "http:"), headers=headers) as answer:
        assert answer.status == status, await answer.text()
        assert (await answer.json())["error"] == "upgrade"


async def test_the_relays_own_pages_may_connect_by_whatever_name_they_were_opened(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        for url in (relay.url, relay.admin_url):
            port = urlsplit(url).port
            for scheme in ("http", "https"):
                peer = await stage.connect(
                    relay.url, headers={"Origin": f"{scheme}://{host}:{port}"}
                )
                await peer.message("connection_established")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_the_admin_routes_answer_loopback_names_only(
    stage: Stage, gateway: Gateway, path: str
) -> None:
    relay = await stage.open_relay(gateway.url)
    async with stage.http.get(relay.admin_url + path) as answer:
        assert answer.status == 200
    async with stage.http.get(relay.admin_url + path, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 403


async def test_require_token_demands_the_client_token(stage: Stage, gateway: Gateway) -> None:
    relay = await stage.open_relay(gateway.url, require_token=True)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await stage.connect(relay.url)
    assert refused.value.status == 401
    peer = await stage.connect(relay.url, headers={"Authorization": "Bearer the-client-token"})
    assert (await peer.message())["type"] == "connection_established"


async def test_an_address_beyond_this_machine_is_refused_unless_overruled(
    stage: Stage, gateway: Gateway
) -> None:
    with pytest.raises(BadConfiguration, match="other machines"):
        await stage.open_relay(gateway.url, listen="0.0.0.0:0")


async def test_a_port_in_use_is_a_clear_answer(stage: Stage, gateway: Gateway) -> None:
    with pytest.raises(
        BadConfiguration, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use$"
    ):
        await stage.open_relay(gateway.url, listen=f"127.0.0.1:{gateway.port}", record=True)
    assert not (stage.folder / "recordings").exists()


async def test_a_port_in_use_names_the_option_that_takes_another(
    stage: Stage, gateway: Gateway
) -> None:
    taken = f"127.0.0.1:{gateway.port}"
    with pytest.raises(BadConfiguration) as refused:
        await stage.open_relay(gateway.url, listen=taken)
    assert "? --listen 127.0.0.1:0 takes a free port" in (refused.value.hint or "")
    with pytest.raises(BadConfiguration) as refused:
        await stage.open_relay(gateway.url, admin_listen=taken)
    assert "? --admin-listen 127.0.0.1:0 takes a free port" in (refused.value.hint or "")


async def test_a_refused_credential_ends_the_start(stage: Stage, gateway: Gateway) -> None:
    with pytest.raises(NotAuthenticated):
        await stage.open_relay(gateway.url, secret="mbk_wrong")


async def test_an_upstream_that_is_away_at_start_does_not(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("megabot_cli.relay.session.GREETING_S", 0.1)
    gateway = await stage.open_gateway()
    port = gateway.port
    await gateway.stop()
    relay = await stage.open_relay(f"ws://127.0.0.1:{port}/ws")
    async with stage.http.get(f"{relay.admin_url}/readyz") as answer:
        assert answer.status == 503
    peer = await stage.connect(relay.url)
    late = await stage.connect(relay.url)  # its link waits for its turn to dial
    for each in (peer, late):
        silence = await each.message()
        assert (silence["type"], silence["payload"]["code"]) == ("connection_error", 503)
        assert f"Could not connect to ws://127.0.0.1:{port}" in silence["payload"]["message"]
    gateway = await stage.open_gateway(port=port)
    assert await peer.message("connection_established", limit_s=15)
    async with stage.http.get(f"{relay.admin_url}/readyz") as answer:
        assert answer.status == 200
    await relay.stop()
    await gateway.stop()
