"""Who comes to a door with TLS, and what it takes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import aiohttp
import pytest
from yarl import URL

from megabot_cli.gateway.server import Gateway
from megabot_cli.relay.server import Relay
from tests.relay.conftest import Stage, until
from tests.relay.test_doors import Stranger, address
from tests.relay.test_tls_door import asks_and_is_answered, open_with_tls, trusting
from tests.relay.test_too_much_in_one_message import sees_1009_after_all_of_it_was_sent
from tests.support.certificates import make_certificate

TOKEN = "the-client-token"


@pytest.fixture
async def relay(stage: Stage, gateway: Gateway) -> Relay:
    """As one for other machines is: nobody comes without the client token."""
    return await open_with_tls(stage, gateway, require_token=True)


@pytest.mark.parametrize("place", ["Authorization", "X-API-Key", "query"])
async def test_the_client_token_is_taken_in_three_places(
    stage: Stage, relay: Relay, place: str
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-API-Key": TOKEN}
    url = URL(relay.url)
    assert url.scheme == "wss"
    async with stage.http.ws_connect(
        url.with_query({"token": TOKEN}) if place == "query" else url,
        headers={name: value for name, value in headers.items() if name == place},
        ssl=trusting(stage),
    ) as socket:
        greeting = await socket.receive_json(timeout=5)
    assert greeting["type"] == "connection_established"


@pytest.mark.parametrize("given", [{}, {"token": "wrong"}, {"token": ""}])
async def test_no_token_and_a_wrong_one_are_refused_before_the_upgrade(
    stage: Stage, relay: Relay, given: dict[str, str]
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await stage.http.ws_connect(URL(relay.url).with_query(given), ssl=trusting(stage))
    assert refused.value.status == 401
    assert relay.numbers.refusals == {"token": 1}
    assert not relay.gauges().clients


async def test_a_certificate_that_nobody_trusts_lets_its_client_go_and_no_other(
    stage: Stage, relay: Relay
) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await stage.http.ws_connect(relay.url, headers={"X-API-Key": TOKEN})
    await until(lambda: relay.strangers == 0)
    await asks_and_is_answered(stage, relay)


async def test_plain_http_is_no_way_in_and_gets_no_answer_in_the_clear(
    stage: Stage, relay: Relay
) -> None:
    host, port = address(relay)
    stranger = Stranger(*await asyncio.open_connection(host, port))
    stranger.say(f"GET /ws?token={TOKEN} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    said = b""
    with contextlib.suppress(ConnectionResetError):
        said = await asyncio.wait_for(stranger.reader.read(), 5)
    assert b"HTTP" not in said
    stranger.writer.close()
    await until(lambda: relay.strangers == 0)
    with pytest.raises(aiohttp.ClientError):
        await stage.http.get(f"http://{host}:{port}/")
    await asks_and_is_answered(stage, relay)


async def test_a_client_certificate_is_not_asked_for_and_changes_nothing(
    stage: Stage, relay: Relay
) -> None:
    """It is no credential here: the token is wanted all the same."""
    asked: list[object] = []
    context = trusting(stage)
    context._msg_callback = lambda *about: asked.append(about[4])  # type: ignore[attr-defined]
    own = make_certificate(stage.folder, "client")
    context.load_cert_chain(own.cert_file, own.key_file)
    await asks_and_is_answered(stage, relay, context)
    names = {getattr(each, "name", "") for each in asked}
    assert "CERTIFICATE" in names
    assert "CERTIFICATE_REQUEST" not in names
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await stage.http.ws_connect(relay.url, ssl=context)
    assert refused.value.status == 401


async def test_a_handshake_that_comes_in_drops_has_no_more_time_than_any_request(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await open_with_tls(stage, gateway, header_deadline_s=0.4)
    outgoing = ssl.MemoryBIO()
    half = trusting(stage).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    hello = outgoing.read()
    stranger = Stranger(*await asyncio.open_connection(*address(relay)))
    began = asyncio.get_running_loop().time()
    cut = asyncio.ensure_future(stranger.is_cut())
    for place in range(len(hello) - 1):
        if cut.done():
            break
        stranger.say(hello[place : place + 1])
        await asyncio.sleep(0.02)
    assert await cut
    assert 0.3 < asyncio.get_running_loop().time() - began < 5
    assert relay.numbers.refusals == {"deadline": 1}
    assert relay.strangers == 0
    stranger.writer.transport.abort()


async def test_who_sends_far_too_much_in_one_message_reads_1009_here_too(
    stage: Stage, relay: Relay
) -> None:
    host, port = address(relay)
    reader, writer = await asyncio.open_connection(host, port, ssl=trusting(stage))
    request = (
        f"GET /ws?token={TOKEN} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    writer.write(request.encode())
    await reader.readuntil(b"\r\n\r\n")
    await sees_1009_after_all_of_it_was_sent(Stranger(reader, writer))
    await until(lambda: relay.numbers.clients_closed[1009] == 1)
