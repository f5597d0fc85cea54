"""`login` and `refresh` against upstreams that behave, and those that do not."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from megabot_cli.client import login_requests
from megabot_cli.client.credentials import Credential
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import login, refresh
from megabot_cli.client.trust import tls_context
from megabot_cli.config.schema import TlsSettings
from megabot_cli.errors import (
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    UpstreamRefused,
)
from tests.client.dialling import SECRET as PASSWORD
from tests.client.dialling import refused
from tests.support.upstream import ScriptedUpstream


async def log_in(http: aiohttp.ClientSession, upstream: ScriptedUpstream) -> Credential:
    return await login(http, parse_endpoint(upstream.url), "ada", PASSWORD)


async def test_a_password_becomes_a_credential(http: aiohttp.ClientSession) -> None:
    def accept(body: dict[str, Any]) -> web.Response:
        assert body == {"username": "ada", "password": PASSWORD}
        answer = {"token": "t.o.ken", "expires_in": 60, "refresh_token": "again", "user_id": "u_1"}
        return web.json_response(answer)

    async with ScriptedUpstream(on_login=accept) as upstream:
        before = time.time()
        credential = await log_in(http, upstream)
    assert credential.kind == "jwt"
    assert credential.secret == "t.o.ken"
    assert credential.origin == upstream.origin
    assert (credential.username, credential.user_id) == ("ada", "u_1")
    assert credential.refresh_token == "again"
    assert credential.expires_at is not None
    assert before + 60 <= credential.expires_at <= time.time() + 60


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"expires_in": None, "refresh_token": None, "user_id": None},
        {"expires_in": "soon", "refresh_token": 7, "user_id": []},
        {"expires_in": True, "refresh_token": "", "user_id": ""},
        {"expires_in": -1, "something": {"new": 1}},
    ],
)
async def test_only_the_token_is_required(
    http: aiohttp.ClientSession, more: dict[str, Any]
) -> None:
    def accept(body: dict[str, Any]) -> web.Response:
        return web.json_response({"token": "abc", **more})

    async with ScriptedUpstream(on_login=accept) as upstream:
        credential = await log_in(http, upstream)
    assert credential.secret == "abc"
    assert credential.expires_at is None
    assert credential.refresh_token is None
    assert credential.user_id is None


async def test_without_a_lifetime_the_token_itself_says_when_it_expires(
    http: aiohttp.ClientSession,
) -> None:
    token = "e30.eyJleHAiOjE2NDA5OTUyMDB9.c2ln"

    async with ScriptedUpstream(on_login=lambda _: web.json_response({"token": token})) as upstream:
        credential = await log_in(http, upstream)
    assert credential.expires_at == 1640995200.0


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, '{"message":"Invalid username or password"}', NotAuthenticated, ["Invalid username"]),
        (401, f'{{"message":"not {PASSWORD}"}}', NotAuthenticated, ["not [secret]"]),
        (401, "", NotAuthenticated, ["Check both"]),
        (403, '{"message":"Locked"}', NotPermitted, ["Locked"]),
        (404, "<html>Not Found</html>", UpstreamRefused, ["404", "url"]),
        (400, '{"message":"odd body"}', UpstreamRefused, ["400", "odd body"]),
        (500, "Internal Server Error", UpstreamRefused, ["500"]),
        (503, '{"error":"overloaded"}', CouldNotConnect, ["503", "overloaded"]),
        (302, "", UpstreamRefused, ["302", "redirect"]),
        (204, "", UpstreamRefused, ["204"]),
        (200, "<html>hello</html>", UpstreamRefused, ["no JSON object"]),
        (200, "[]", UpstreamRefused, ["no JSON object"]),
        (200, "", UpstreamRefused, ["no JSON object"]),
        (200, "{}", UpstreamRefused, ["no usable token"]),
        (200, '{"token":7}', UpstreamRefused, ["no usable token"]),
        (200, '{"token":""}', UpstreamRefused, ["no usable token"]),
        (200, '{"token":"two\\r\\nlines"}', UpstreamRefused, ["no usable token"]),
        (200, '{"token":"\\ud800"}', UpstreamRefused, []),
        (200, "{" * 100_000, UpstreamRefused, ["no JSON object"]),
    ],
)
async def test_every_odd_answer_is_a_clear_error(
    http: aiohttp.ClientSession,
    status: int,
    body: str,
    kind: type[MegabotError],
    words: list[str],
) -> None:
    def answer(_: dict[str, Any]) -> web.Response:
        headers = {"Location": "/elsewhere"} if status == 302 else None
        return web.Response(status=status, text=body, headers=headers)

    async with ScriptedUpstream(on_login=answer) as upstream:
        with refused(kind, *words):
            await log_in(http, upstream)
    assert len(upstream.logins) == 1


async def test_too_many_logins_say_when_to_come_back(http: aiohttp.ClientSession) -> None:
    def slow_down(_: dict[str, Any]) -> web.Response:
        return web.json_response(
            {"error": "rate_limited"}, status=429, headers={"Retry-After": "7"}
        )

    async with ScriptedUpstream(on_login=slow_down) as upstream:
        with pytest.raises(RateLimited) as refusal:
            await log_in(http, upstream)
    assert refusal.value.retry_after_s == 7.0


async def test_a_redirect_does_not_get_the_password(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as other:

        def redirect(_: dict[str, Any]) -> web.Response:
            location = f"{other.origin}/api/auth/login"
            return web.Response(status=307, headers={"Location": location})

        async with ScriptedUpstream(on_login=redirect) as upstream:
            with refused(UpstreamRefused, "redirect"):
                await log_in(http, upstream)
    assert other.logins == []


async def test_a_body_without_end_is_cut(http: aiohttp.ClientSession) -> None:
    async def pour(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=b'{"token":"' + b"x" * 10_000_000)

    async with ScriptedUpstream(on_login=pour) as upstream:
        with refused(UpstreamRefused, "no JSON object"):
            await log_in(http, upstream)


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_nobody_at_the_address_says_how_to_start_one(
    http: aiohttp.ClientSession, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    address = f"{scheme}://127.0.0.1:{port}"
    with refused(CouldNotConnect, f"to {address}: Connection refused", "megabot gateway"):
        await login(http, parse_endpoint(address), "ada", PASSWORD)


async def test_a_host_nobody_knows_is_said_to_be_one(http: aiohttp.ClientSession) -> None:
    with refused(CouldNotConnect, "no-such-host.invalid", "not known"):
        await login(http, parse_endpoint("ws://no-such-host.invalid"), "ada", PASSWORD)


async def test_an_upstream_that_says_nothing_is_given_up(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_requests, "LOGIN_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with refused(CouldNotConnect, "0.2 s"):
            await login(http, parse_endpoint(f"ws://127.0.0.1:{port}"), "ada", PASSWORD)


async def test_something_that_is_no_web_server_is_a_clear_error(
    http: aiohttp.ClientSession,
) -> None:
    async def ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(ssh, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with refused(UpstreamRefused, "does not speak HTTP"):
            await login(http, parse_endpoint(f"ws://127.0.0.1:{port}"), "ada", PASSWORD)


async def test_a_refresh_token_becomes_a_new_credential(http: aiohttp.ClientSession) -> None:
    def renew(body: dict[str, Any]) -> web.Response:
        assert body == {"refresh_token": "refresh-1"}
        return web.json_response({"token": "token-2", "expires_in": 60})

    async with ScriptedUpstream(on_refresh=renew) as upstream:
        old = Credential(
            "jwt", "token-1", upstream.origin, "ada", "user_1", refresh_token="refresh-1"
        )
        new = await refresh(http, parse_endpoint(upstream.url), old)
    assert new.secret == "token-2"
    assert (new.username, new.user_id) == ("ada", "user_1")
    assert new.refresh_token == "refresh-1"  # the upstream gave no other: it stays in force


async def test_a_credential_is_not_refreshed_at_another_origin(
    http: aiohttp.ClientSession,
) -> None:
    async with ScriptedUpstream() as upstream:
        foreign = Credential("jwt", "t", "https://api.megabot.ai", refresh_token="r")
        with pytest.raises(NotAuthenticated, match=r"https://api\.megabot\.ai"):
            await refresh(http, parse_endpoint(upstream.url), foreign)
    assert upstream.refreshes == []


async def test_a_certificate_nobody_vouches_for_is_refused(
    http: aiohttp.ClientSession, server_tls: ssl.SSLContext
) -> None:
    async with ScriptedUpstream(tls=server_tls) as upstream:
        with refused(CouldNotConnect, "not trusted", "tls.ca_file"):
            await log_in(http, upstream)
    assert upstream.logins == []


async def test_a_certificate_of_the_ca_file_is_trusted(
    http: aiohttp.ClientSession, server_tls: ssl.SSLContext, certificate: Path
) -> None:
    context = tls_context(TlsSettings(ca_file=str(certificate)))
    async with ScriptedUpstream(tls=server_tls) as upstream:
        endpoint = parse_endpoint(upstream.url)
        credential = await login(http, endpoint, "ada", PASSWORD, ssl=context)
    assert credential.secret == "token-1"


async def test_tls_where_none_is_spoken_is_a_clear_error(http: aiohttp.ClientSession) -> None:
    async with ScriptedUpstream() as upstream:
        endpoint = parse_endpoint(upstream.url.replace("ws://", "wss://"))
        with refused(CouldNotConnect, "No TLS", "ws://"):
            await login(http, endpoint, "ada", PASSWORD)
