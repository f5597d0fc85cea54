"""Who may connect."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.redaction import Redactor
from megabot_cli.relay.admission import NO_TOKEN, Admission, SocketOwners, host_name


def new_admission(*, require_token: bool = False) -> Admission:
    rules = Admission(
        allowed_origins=["http://localhost:5173/"],
        allowed_hosts=["relay.test"],
        client_token="the-token",
        require_token=require_token,
    )
    rules.allow_own_pages([3100])
    return rules


@pytest.mark.parametrize(
    "host", ["127.0.0.1:3100", "localhost", "LOCALHOST:3100", "[::1]:3100", "relay.test:3100"]
)
def test_loopback_names_and_listed_hosts_are_answered(host: str) -> None:
    assert new_admission().judge_host(host) is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example:3100", 403),
        ("127.0.0.1.evil.example", 403),
        ("169.254.169.254", 403),
        ("", 400),
        (None, 400),
        ("a b", 400),
        ("localhost:99999999", 400),
        ("[::1", 400),
        ("user@localhost", 400),
    ],
)
def test_a_rebound_or_malformed_host_is_refused(host: str | None, status: int) -> None:
    refusal = new_admission().judge_host(host)
    assert refusal is not None
    assert refusal.status == status


@given(st.text())
def test_any_host_header_is_judged_without_an_exception(host: str) -> None:
    new_admission().judge_host(host)
    host_name(host)


@pytest.mark.parametrize("origin", [None, "http://localhost:5173", "http://127.0.0.1:3100"])
def test_programs_listed_pages_and_own_pages_may_connect(origin: str | None) -> None:
    assert new_admission().judge_origin(origin) is None


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "file://",
        "chrome-extension://abcdefgh",
        "http://[2001:db8::1]:8080",
        "http://b\u00fccher.example",
        "http://evil.example",
        "http://localhost:5174",
        "https://localhost:5173",
        "http://localhost.5173.evil.example",
    ],
)
def test_other_pages_may_not(origin: str) -> None:
    refusal = new_admission().judge_origin(origin)
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "evil.example",
        "http:evil.example",
        "http://evil.example/page",
        "http://user@evil.example",
        "http://evil.example:port",
        "http://localhost:5173.evil.example",
        "http://[::1",
        "http://evil.example http://127.0.0.1:3100",
        "http://evil.example\x00",
    ],
)
def test_an_origin_that_is_none_is_malformed(origin: str) -> None:
    refusal = new_admission().judge_origin(origin)
    assert refusal is not None
    assert refusal.status == 400


@given(st.text())
def test_any_origin_header_is_judged_without_an_exception(origin: str) -> None:
    new_admission().judge_origin(origin)


@pytest.mark.parametrize(
    ("headers", "query", "is_there"),
    [
        ({"Authorization": "Bearer the-token"}, {}, True),
        ({"Authorization": "bearer the-token"}, {}, True),
        ({"Authorization": "Basic the-token"}, {}, False),
        ({"Authorization": "the-token"}, {}, False),
        ({"X-API-Key": "the-token"}, {}, True),
        ({"Authorization": "Basic x"}, {"token": "the-token"}, True),
        ({}, {"token": "another"}, False),
        ({}, {}, False),
    ],
)
def test_the_token_is_taken_in_three_places(
    headers: dict[str, str], query: dict[str, str], is_there: bool
) -> None:
    assert new_admission().has_token(headers, query) is is_there


def test_a_program_of_the_same_user_needs_no_token() -> None:
    assert new_admission().judge_peer(os.getuid(), has_token=False) is None


def test_a_program_of_another_user_is_refused() -> None:
    refusal = new_admission().judge_peer(os.getuid() + 1, has_token=False)
    assert refusal is not None
    assert refusal.status == 403


def test_the_token_is_demanded_where_the_user_cannot_be_known() -> None:
    refusal = new_admission().judge_peer(None, has_token=False)
    assert refusal is not None
    assert refusal.status == 401
    assert new_admission().judge_peer(None, has_token=True) is None


def test_require_token_demands_it_of_everybody() -> None:
    rules = new_admission(require_token=True)
    assert rules.judge_peer(os.getuid(), has_token=False) is not None
    assert rules.judge_peer(os.getuid(), has_token=True) is None


def test_the_token_is_found_in_header_key_and_query_and_a_wrong_one_is_not() -> None:
    rules = new_admission()
    assert rules.has_token({"Authorization": "Bearer the-token"}, {})
    assert rules.has_token({"X-API-Key": "the-token"}, {})
    assert rules.has_token({}, {"token": "the-token"})
    assert not rules.has_token({"Authorization": "Bearer the-tokens"}, {"token": "ü"})
    assert not rules.has_token({}, {})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists sockets in /proc")
@pytest.mark.parametrize(("listen", "dial"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1")])
async def test_the_owner_of_the_other_end_is_found_in_the_socket_table(
    listen: str, dial: str
) -> None:
    owners = SocketOwners()
    seen: asyncio.Future[list[int | None]] = asyncio.get_running_loop().create_future()

    async def look(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        local, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        question = ((local[0], local[1]), (peer[0], peer[1]))
        seen.set_result(await asyncio.gather(*(owners.uid(*question) for _ in range(5))))
        writer.close()

    try:
        server = await asyncio.start_server(look, listen, 0)
    except OSError:
        pytest.skip(f"{listen} cannot be bound on this machine")
    async with server:
        _, writer = await asyncio.open_connection(dial, server.sockets[0].getsockname()[1])
        assert await asyncio.wait_for(seen, 5) == [os.getuid()] * 5
        writer.close()
        await writer.wait_closed()


async def test_a_connection_that_the_table_does_not_list_has_no_known_owner() -> None:
    assert await SocketOwners().uid(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists sockets in /proc")
async def test_an_ipv4_program_that_uses_an_ipv6_socket_is_found_too() -> None:
    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    with socket.socket(socket.AF_INET6) as program:
        program.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        port = server.sockets[0].getsockname()[1]
        try:
            program.connect(("::ffff:127.0.0.1", port))
        except OSError:
            pytest.skip("this machine has no IPv6 sockets")
        own_port = program.getsockname()[1]
        uid = await SocketOwners().uid(("127.0.0.1", port), ("127.0.0.1", own_port))
        assert uid == os.getuid()
    server.close()
    await server.wait_closed()


def test_what_is_said_for_want_of_a_token_does_not_look_like_one_in_the_log() -> None:
    assert Redactor(b"k" * 16).clean(NO_TOKEN.message) == NO_TOKEN.message
