"""A dial that fails says why; no secret and no socket is left."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from megabot_cli.client.credentials import Credential
from megabot_cli.client.dial import dial
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.network_faults import is_it_running
from megabot_cli.errors import (
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    UpstreamRefused,
)
from tests.client.conftest import until
from tests.client.dialling import SECRET, connect, refused
from tests.support.upstream import Connection, ScriptedUpstream


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("http://127.0.0.1:3000", "`megabot gateway` starts one here"),
        ("ws://127.0.0.1:3000", "`megabot gateway` starts one here"),
        ("http://localhost:4000", "`megabot gateway --listen localhost:4000` starts one here"),
        ("http://[::1]", "`megabot gateway --listen [::1]:80` starts one here"),
        ("https://127.0.0.1:3000", "Check the port"),
        ("wss://127.0.0.1:3000", "Check the port"),
        ("http://upstream.example:3000", "Is it running there?"),
        ("unix:/run/relay", "`megabot relay --listen unix:/run/relay` starts one"),
    ],
)
def test_what_starts_one_starts_it_where_it_is_sought(address: str, hint: str) -> None:
    assert hint in is_it_running(address)


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
        (502, "<html>", CouldNotConnect, ["502", "later"]),
        (503, '{"message":"busy"}', CouldNotConnect, ["503", "busy", "later"]),
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


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, CouldNotConnect)])
async def test_a_refusal_says_when_to_come_back(
    http: aiohttp.ClientSession, status: int, kind: type[MegabotError]
) -> None:
    def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "9"})

    async with ScriptedUpstream(gate=refuse) as upstream:
        with pytest.raises(kind) as refusal:
            await connect(http, upstream)
    assert refusal.value.retry_after_s == 9.0
    assert refusal.value.hint == "Try again in 9 s."
    assert refusal.value.retryable


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
        ({"error": "full", "message": "No room", "code": 503}, CouldNotConnect, ["No room"]),
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
        await until(lambda: upstream.connections[0].is_gone)


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
            await connect(http, upstream, compression="none")


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
        assert time.monotonic() - began_at < 5
        await until(lambda: upstream.connections[0].is_gone)


async def test_a_port_that_accepts_and_says_nothing_is_given_up_in_time(
    http: aiohttp.ClientSession,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = parse_endpoint(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        with refused(CouldNotConnect, "0.2 s"):
            await dial(http, endpoint, None, timeout_s=0.2)


async def test_who_hangs_up_when_tls_begins_is_told_in_words(http: aiohttp.ClientSession) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        endpoint = parse_endpoint(f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with refused(CouldNotConnect, "Could not connect to", ": it hung up"):
            await dial(http, endpoint, None)


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_nobody_at_the_address_says_how_to_start_one(
    http: aiohttp.ClientSession, scheme: str
) -> None:
    async with ScriptedUpstream() as upstream:
        endpoint = parse_endpoint(upstream.url.replace("ws:", f"{scheme}:"))
    told = f"Could not connect to {scheme}://127.0.0.1:{upstream.port}: Connection refused"
    with refused(CouldNotConnect, told, "megabot gateway"):
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
        await until(lambda: upstream.connections[0].is_gone)


async def test_where_no_more_files_may_be_open_the_hint_says_how_many_may(
    http: aiohttp.ClientSession,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = parse_endpoint(f"ws://127.0.0.1:{listening.getsockname()[1]}/ws")
        os.close(next_one := os.dup(listening.fileno()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
        try:
            with refused(CouldNotConnect, "Too many open files", "ulimit -n"):
                await dial(http, endpoint, None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
