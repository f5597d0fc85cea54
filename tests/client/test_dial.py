"""Dialling: what is sent, what is understood, and that no secret and no socket is left."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import Dialed, dial, hang_up, tls_context
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.errors import (
    BadConfiguration,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    UpstreamRefused,
)
from tests.client.conftest import until
from tests.support.upstream import Connection, ScriptedUpstream, greet_and_wait

SECRET = "hunter2-and-more"


async def connect(
    http: aiohttp.ClientSession,
    upstream: ScriptedUpstream,
    *,
    kind: Any = "jwt",
    secret: str | None = SECRET,
    **options: Any,
) -> Dialed:
    credential = Credential(kind, secret, upstream.origin) if secret is not None else None
    return await dial(http, parse_endpoint(upstream.url), credential, **options)


@contextmanager
def refused(kind: type[MegabotError], *words: str) -> Iterator[None]:
    """What is inside raises `kind`, says `words`, and shows the secret nowhere."""
    with pytest.raises(kind) as refusal:
        yield
    error = refusal.value
    assert type(error) is kind
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error.hint)
    assert SECRET not in shown
    for word in words:
        assert word in f"{error.message} {error.hint}"


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


@pytest.mark.parametrize("send_in", ["header", "query"])
@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, f'{{"message":"not {SECRET}"}}', NotAuthenticated, ["[secret]", "megabot login"]),
        (401, "", NotAuthenticated, ["refused the credential"]),
        (403, '{"error":"origin_refused"}', NotPermitted, ["origin refused"]),
        (429, "", RateLimited, ["slow down"]),
        (404, "<html>", UpstreamRefused, ["404", "path"]),
        (400, "bad", UpstreamRefused, ["400"]),
        (426, "", UpstreamRefused, ["426"]),
        (500, f"{SECRET}", UpstreamRefused, ["500"]),
        (503, '{"message":"busy"}', UpstreamRefused, ["503", "busy"]),
        (200, "hello", UpstreamRefused, ["200", "WebSocket"]),
    ],
)
async def test_a_refusal_over_http_says_what_was_said(
    http: aiohttp.ClientSession,
    send_in: str,
    status: int,
    body: str,
    kind: type[MegabotError],
    words: list[str],
) -> None:
    def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with ScriptedUpstream(gate=refuse) as upstream:
        with refused(kind, *words):
            await connect(http, upstream, send_in=send_in)


async def test_a_refusal_says_when_to_come_back(http: aiohttp.ClientSession) -> None:
    def refuse(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "9"})

    async with ScriptedUpstream(gate=refuse) as upstream:
        with pytest.raises(RateLimited) as refusal:
            await connect(http, upstream)
    assert refusal.value.retry_after_s == 9.0


async def test_a_refusal_whose_body_never_ends_is_a_refusal(http: aiohttp.ClientSession) -> None:
    def pour(_: web.Request) -> web.Response:
        return web.Response(status=403, body=b"x" * 10_000_000)

    async with ScriptedUpstream(gate=pour) as upstream:
        with refused(NotPermitted):
            await connect(http, upstream)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["jwt", "api_key"])
async def test_a_redirect_is_refused_and_nothing_goes_there(
    http: aiohttp.ClientSession, status: int, kind: str
) -> None:
    async with ScriptedUpstream() as other:

        def redirect(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{other.origin}/ws"})

        async with ScriptedUpstream(gate=redirect) as upstream:
            with refused(UpstreamRefused, "redirect"):
                await connect(http, upstream, kind=kind)
    assert other.requests == []


@pytest.mark.parametrize(
    ("payload", "kind", "words"),
    [
        (
            {"error": "authentication_failed", "message": f"Invalid {SECRET}", "code": 401},
            NotAuthenticated,
            ["Invalid [secret]"],
        ),
        ({"error": "authentication_failed"}, NotAuthenticated, []),
        ({"error": "forbidden", "code": 403}, NotPermitted, ["forbidden"]),
        ({"error": "rate_limited", "code": 429}, RateLimited, []),
        ({"error": "full", "message": "No room", "code": 503}, UpstreamRefused, ["No room"]),
        ({"error": "?", "code": "x"}, UpstreamRefused, []),
        ("nonsense", UpstreamRefused, []),
        (None, UpstreamRefused, []),
    ],
)
async def test_a_connection_error_in_place_of_the_greeting_is_a_refusal(
    http: aiohttp.ClientSession, payload: Any, kind: type[MegabotError], words: list[str]
) -> None:
    async def script(connection: Connection) -> None:
        await connection.send("connection_error", payload)
        await connection.close(1008)

    async with ScriptedUpstream(script) as upstream:
        with refused(kind, *words):
            await connect(http, upstream)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"type":"message","content":"hi"}', "another message"),
        ("hello", "another message"),
        ("[]", "another message"),
        ("", "another message"),
        ('{"type":"connection_established"}', "cannot be read"),
        ('{"type":"connection_established","payload":[]}', "cannot be read"),
        ('{"type":"connection_established","payload":{}}', "without a session_id"),
        ('{"type":"connection_established","payload":{"session_id":""}}', "without a session_id"),
        ('{"type":"connection_established","payload":{"session_id":7}}', "without a session_id"),
        ('{"type":"connection_established","payload":{"a":"\\ud800"}}', "cannot be read"),
        ('{"type":"connection_established","payload":' + "[" * 50_000, "another message"),
    ],
)
async def test_what_is_no_greeting_is_a_clear_error(
    http: aiohttp.ClientSession, text: str, words: str
) -> None:
    async def script(connection: Connection) -> None:
        await connection.send_text(text)
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        with refused(UpstreamRefused, words, "MegaBot endpoint"):
            await connect(http, upstream)
        await until(lambda: upstream.connections[0].socket.closed)


async def test_a_binary_greeting_is_a_clear_error(http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.send_bytes(b'{"type":"connection_established"}')
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        with refused(UpstreamRefused, "binary"):
            await connect(http, upstream)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\x00",  # reserved bits and an opcode that does not exist
        b"\x81\x85\x00\x00\x00\x00hello",  # masked, which a server must not
        b"\x89\x7e\x01\x00" + b"x" * 256,  # a ping too long for a control frame
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["reserved", "masked", "long ping", "http"],
)
async def test_frames_that_break_the_protocol_are_a_clear_error(
    http: aiohttp.ClientSession, frame: bytes
) -> None:
    async def script(connection: Connection) -> None:
        await connection.send_raw(frame)
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        with refused(UpstreamRefused, "did not begin"):
            await connect(http, upstream, compress=False)


async def test_a_greeting_that_is_not_utf8_is_a_clear_error(http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.send_raw(b'\x81\x03"\xff"')
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        with refused(UpstreamRefused, "did not begin"):
            await connect(http, upstream)


async def test_a_close_in_place_of_the_greeting_says_its_code(http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.close(1013, f"too busy for {SECRET}")

    async with ScriptedUpstream(script) as upstream:
        with refused(CouldNotConnect, "1013", "try again later", "too busy for [secret]"):
            await connect(http, upstream)


async def test_a_line_cut_before_the_greeting_is_a_clear_error(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream(Connection.cut) as upstream:
        with refused(CouldNotConnect, "hung up"):
            await connect(http, upstream)


async def test_an_upstream_that_never_greets_is_given_up_in_time(
    http: aiohttp.ClientSession,
) -> None:
    async def script(connection: Connection) -> None:
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream:
        began_at = time.monotonic()
        with refused(CouldNotConnect, "0.3 s"):
            await connect(http, upstream, timeout_s=0.3)
        assert time.monotonic() - began_at < 3
        await until(lambda: upstream.connections[0].socket.closed)


async def test_a_port_that_accepts_and_says_nothing_is_given_up_in_time(
    http: aiohttp.ClientSession,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = parse_endpoint(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        with refused(CouldNotConnect, "0.2 s"):
            await dial(http, endpoint, None, timeout_s=0.2)


async def test_nobody_at_the_address_says_how_to_start_one(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        endpoint = parse_endpoint(upstream.url)
    with refused(CouldNotConnect, "Connection refused", "megabot gateway"):
        await dial(http, endpoint, Credential("jwt", SECRET, endpoint.origin), send_in="query")


async def test_an_answer_that_is_no_websocket_handshake_shows_no_token(
    http: aiohttp.ClientSession,
) -> None:
    """aiohttp's own error for this prints the URL."""

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n"
        )
        await reader.read()
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    async with server:
        endpoint = parse_endpoint(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        credential = Credential("jwt", SECRET, endpoint.origin)
        with refused(UpstreamRefused, "does not speak"):
            await dial(http, endpoint, credential, send_in="query")


async def test_a_dial_that_is_cancelled_leaves_no_connection(http: aiohttp.ClientSession) -> None:
    async def script(connection: Connection) -> None:
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream, asyncio.TaskGroup() as group:
        dialling = group.create_task(connect(http, upstream))
        await until(lambda: upstream.connections)
        dialling.cancel()
        await until(dialling.done, 2.0)
        assert dialling.cancelled()
        await until(lambda: upstream.connections[0].socket.closed)


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
        dialed = await connect(http, upstream, max_message_bytes=1000, compress=compress)
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
        dialed = await connect(http, upstream, compress=compress)
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
        assert time.monotonic() - began_at < 2
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
        dialed = await connect(http, upstream, ssl=tls_context(str(certificate), insecure=False))
        await hang_up(dialed.socket)
        with refused(CouldNotConnect, "not trusted"):
            await connect(http, upstream)


async def test_insecure_trusts_anybody(
    http: aiohttp.ClientSession, server_tls: ssl.SSLContext
) -> None:
    async with ScriptedUpstream(tls=server_tls) as upstream:
        dialed = await connect(http, upstream, ssl=tls_context(None, insecure=True))
        await hang_up(dialed.socket)
    assert dialed.greeting is not None


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_without_certificates_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadConfiguration, match=r"tls\.ca_file"):
        tls_context(str(file), insecure=False)


async def test_the_default_script_greets_each_session_that_is_asked_for(
    http: aiohttp.ClientSession,
) -> None:
    async with ScriptedUpstream(greet_and_wait) as upstream:
        dialed = await connect(http, upstream, session_id="sess_old")
        await hang_up(dialed.socket)
    assert dialed.greeting is not None
    assert dialed.greeting.session_id == "sess_old"
