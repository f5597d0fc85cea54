"""Dialling: what is sent, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import dial, hang_up
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.trust import tls_context
from megabot_cli.config.schema import TlsSettings
from megabot_cli.errors import (
    BadConfiguration,
    CouldNotConnect,
    NotAuthenticated,
)
from tests.client.conftest import until
from tests.client.dialling import SECRET, connect, refused
from tests.support.upstream import Connection, ScriptedUpstream, greet_and_wait


async def test_a_greeting_is_read_and_kept_exactly(http: aiohttp.ClientSession) -> None:
    text = (
        '{"type":"connection_established",  "id":"msg_123","payload":{"session_id":"sess_456",'
        '"user_id":"user_789","capabilities":["chat","realtime"],"more":1e2},"timestamp":1.0}'
    )

    async def script(connection: Connection) -> None:
        await connection.send_text(text)
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        dialed = await connect(http, upstream)
        await hang_up(dialed.socket)
    greeting = dialed.greeting
    assert greeting is not None
    assert greeting.text == text
    assert (greeting.session_id, greeting.user_id) == ("sess_456", "user_789")
    assert greeting.capabilities == ("chat", "realtime")


@pytest.mark.parametrize(
    "payload",
    [
        {"session_id": "s"},
        {"session_id": "s", "user_id": None, "capabilities": None},
        {"session_id": "s", "user_id": 7, "capabilities": "chat"},
        {"session_id": "s", "capabilities": [1, None]},
    ],
)
async def test_a_greeting_needs_no_more_than_a_session(
    http: aiohttp.ClientSession, payload: dict[str, Any]
) -> None:
    async def script(connection: Connection) -> None:
        await connection.send_text(
            json.dumps({"type": "connection_established", "payload": payload})
        )
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        dialed = await connect(http, upstream)
        await hang_up(dialed.socket)
    assert dialed.greeting is not None
    assert dialed.greeting.session_id == "s"
    assert (dialed.greeting.user_id, dialed.greeting.capabilities) == (None, ())


async def test_a_token_goes_in_the_header_and_not_in_the_url(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        dialed = await connect(http, upstream, session_id="sess 1&2", user_id="ü", platform="web")
        await hang_up(dialed.socket)
    request = upstream.requests[0]
    assert request.headers["Authorization"] == f"Bearer {SECRET}"
    assert "X-API-Key" not in request.headers
    assert dict(request.query) == {"session_id": "sess 1&2", "user_id": "ü", "platform": "web"}


async def test_an_api_key_goes_in_both_headers(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        dialed = await connect(http, upstream, kind="api_key")
        await hang_up(dialed.socket)
    headers = upstream.requests[0].headers
    assert (headers["Authorization"], headers["X-API-Key"]) == (f"Bearer {SECRET}", SECRET)


async def test_a_token_goes_in_the_query_where_that_is_asked_for(
    http: aiohttp.ClientSession,
) -> None:
    async with ScriptedUpstream() as upstream:
        dialed = await connect(http, upstream, secret="a+b/c=&d", send_in="query", platform=None)
        await hang_up(dialed.socket)
    request = upstream.requests[0]
    assert dict(request.query) == {"token": "a+b/c=&d"}
    assert "Authorization" not in request.headers


async def test_without_a_credential_nothing_is_sent(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        dialed = await connect(http, upstream, secret=None)
        await hang_up(dialed.socket)
    assert "Authorization" not in upstream.requests[0].headers


async def test_a_credential_is_not_sent_to_another_origin(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        foreign = Credential("jwt", SECRET, "https://api.megabot.ai")
        with refused(NotAuthenticated, "https://api.megabot.ai", upstream.origin):
            await dial(http, parse_endpoint(upstream.url), foreign)
    assert upstream.requests == []


@pytest.mark.parametrize("secret", ["", "two\r\nlines", "with space", "ü", "nul\0"])
async def test_a_secret_that_cannot_travel_is_refused_before_it_does(
    http: aiohttp.ClientSession, secret: str
) -> None:
    async with ScriptedUpstream() as upstream:
        with pytest.raises(NotAuthenticated, match="cannot be sent"):
            await connect(http, upstream, secret=secret)
    assert upstream.requests == []


async def test_no_greeting_is_awaited_where_none_is_wanted(http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.send_text("hello")
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        dialed = await connect(http, upstream, await_greeting=False)
        assert dialed.greeting is None
        message = await dialed.socket.receive(timeout=5)
        await hang_up(dialed.socket)
    assert message.data == b"hello"


async def test_text_messages_come_as_the_bytes_they_are(http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.send_text("ü")
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        dialed = await connect(http, upstream)
        message = await dialed.socket.receive(timeout=5)
        await hang_up(dialed.socket)
    assert message.type is aiohttp.WSMsgType.TEXT
    assert message.data == "ü".encode()


@pytest.mark.parametrize(("more", "arrives"), [(0, True), (2, False)])
@pytest.mark.parametrize("compress", [False, True])
async def test_a_message_of_exactly_the_limit_arrives_and_a_longer_one_does_not(
    http: aiohttp.ClientSession, more: int, arrives: bool, compress: bool
) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.send_text("x" * (1000 + more))
        await connection.until_gone()

    async with ScriptedUpstream(script, compress=compress) as upstream:
        dialed = await connect(
            http, upstream, max_message_bytes=1000, compression="deflate" if compress else "none"
        )
        message = await dialed.socket.receive(timeout=5)
        await hang_up(dialed.socket)
        await until(lambda: upstream.connections[0].socket.closed)
    assert (message.type is aiohttp.WSMsgType.TEXT) is arrives
    assert (upstream.connections[0].socket.close_code == 1009) is not arrives


async def test_no_limit_means_none(http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.send_text("x" * 6_000_000)
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        dialed = await connect(http, upstream, max_message_bytes=0)
        message = await dialed.socket.receive(timeout=5)
        await hang_up(dialed.socket)
    assert len(message.data) == 6_000_000


@pytest.mark.parametrize("compress", [False, True])
async def test_compression_is_offered_only_when_wanted(
    http: aiohttp.ClientSession, compress: bool
) -> None:
    async with ScriptedUpstream(compress=True) as upstream:
        dialed = await connect(http, upstream, compression="deflate" if compress else "none")
        assert bool(dialed.socket.compress) is compress
        await hang_up(dialed.socket)
    offered = upstream.requests[0].headers.get("Sec-WebSocket-Extensions", "")
    assert ("permessage-deflate" in offered) is compress


async def test_the_callers_session_stays_usable_and_its_cookies_its_own(
    http: aiohttp.ClientSession,
) -> None:
    http.cookie_jar.update_cookies({"private": "yes"})
    async with ScriptedUpstream() as upstream:
        dialed = await connect(http, upstream)
        await hang_up(dialed.socket)
        assert not http.closed
        again = await connect(http, upstream)
        await hang_up(again.socket)
    assert all("Cookie" not in request.headers for request in upstream.requests)


async def test_hanging_up_says_code_and_reason(http: aiohttp.ClientSession) -> None:
    codes: list[int | None] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(script) as upstream:
        for code in (1000, 1012, 1006):
            dialed = await connect(http, upstream)
            await hang_up(dialed.socket, code, "so long " * 30)
        await until(lambda: len(codes) == 3)
    assert codes == [1000, 1012, 1011]  # 1006 must not be sent


async def test_hanging_up_on_a_talkative_peer_does_not_take_for_ever(
    http: aiohttp.ClientSession,
) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        while not connection.socket.closed:
            await connection.send_raw(b"\x81\x02hi")
            await asyncio.sleep(0.01)

    async with ScriptedUpstream(script) as upstream:
        dialed = await connect(http, upstream)
        began_at = time.monotonic()
        await hang_up(dialed.socket, limit_s=0.3)
        assert time.monotonic() - began_at < 5
        assert dialed.socket.closed


async def test_a_closed_http_session_is_the_callers_mistake() -> None:
    http = aiohttp.ClientSession()
    await http.close()
    with pytest.raises(RuntimeError, match="session is closed"):
        await dial(http, parse_endpoint("ws://127.0.0.1:1"), None)


# TLS


async def test_a_connection_over_tls_trusts_the_ca_file(
    http: aiohttp.ClientSession, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    async with ScriptedUpstream(tls=server_tls) as upstream:
        dialed = await connect(
            http, upstream, ssl=tls_context(TlsSettings(ca_file=str(certificate)))
        )
        await hang_up(dialed.socket)
        with refused(CouldNotConnect, "not trusted"):
            await connect(http, upstream)


async def test_insecure_trusts_anybody(
    http: aiohttp.ClientSession, server_tls: ssl.SSLContext
) -> None:
    async with ScriptedUpstream(tls=server_tls) as upstream:
        dialed = await connect(http, upstream, ssl=tls_context(TlsSettings(insecure=True)))
        await hang_up(dialed.socket)
    assert dialed.greeting is not None


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_without_certificates_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadConfiguration, match=r"tls\.ca_file"):
        tls_context(TlsSettings(ca_file=str(file)))


async def test_the_default_script_greets_each_session_that_is_asked_for(
    http: aiohttp.ClientSession,
) -> None:
    async with ScriptedUpstream(greet_and_wait) as upstream:
        dialed = await connect(http, upstream, session_id="sess_old")
        await hang_up(dialed.socket)
    assert dialed.greeting is not None
    assert dialed.greeting.session_id == "sess_old"
