"""`MegaBotClient` as a program opens it, sends with it, and closes it."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from megabot_cli.client import ClientEvent, MegaBotClient
from megabot_cli.client.credentials import Credential
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.client.trust import tls_context
from megabot_cli.config.schema import TlsSettings
from megabot_cli.errors import (
    BadConfiguration,
    BadData,
    CouldNotConnect,
    NotAuthenticated,
    RateLimited,
    WrongUsage,
)
from tests.client.conftest import until
from tests.client.conversations import client_of, echo
from tests.support.upstream import Connection, Gone, ScriptedUpstream

# Opening and closing


async def test_a_client_knows_its_session_and_says_goodbye() -> None:
    codes: list[int | None] = []

    async def script(connection: Connection) -> None:
        await connection.greet("sess_9", capabilities=["chat", "streaming"])
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(script) as upstream:
        client = client_of(upstream)
        states = [client.state]
        async with client:
            states.append(client.state)
            assert (client.session_id, client.user_id) == ("sess_9", "user_1")
            assert client.capabilities == ("chat", "streaming")
            assert client.resumed is None
        states.append(client.state)
        await until(lambda: codes)
    assert states == ["new", "up", "closed"]
    assert codes == [1000]


async def test_closing_is_safe_to_do_again_and_says_the_code_it_is_given() -> None:
    codes: list[int | None] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(script) as upstream:
        async with client_of(upstream) as client:
            await asyncio.gather(client.close(1001), client.close(), client.close())
            await client.close()
        await until(lambda: codes)
    assert codes == [1001]


async def test_a_session_that_is_asked_for_is_resumed_or_said_to_be_new() -> None:
    events: list[str] = []

    async def script(connection: Connection) -> None:
        asked = connection.query["session_id"]
        await connection.greet(asked if asked == "sess_old" else "sess_new")
        await connection.until_gone()

    def note(event: ClientEvent) -> None:
        events.append(f"{event.kind} {event.session_id}")

    async with ScriptedUpstream(script) as upstream:
        async with client_of(upstream, session_id="sess_old", on_event=note) as client:
            assert client.resumed is True
        async with client_of(upstream, session_id="sess_gone", on_event=note) as client:
            assert client.resumed is False
            assert client.session_id == "sess_new"
    assert events == ["open sess_old", "closed sess_old", "new_session sess_new", "closed sess_new"]


async def test_a_password_is_logged_in_with() -> None:
    async with (
        ScriptedUpstream() as upstream,
        client_of(upstream, username="ada", password="secret"),
    ):
        pass
    assert upstream.logins == [{"username": "ada", "password": "secret"}]
    assert upstream.requests[0].headers["Authorization"] == "Bearer token-1"


async def test_a_token_a_key_or_a_token_source_serve_too() -> None:
    async with ScriptedUpstream() as upstream, aiohttp.ClientSession() as http:
        endpoint = parse_endpoint(upstream.url)
        held = Credential("jwt", "held", upstream.origin)
        tokens = TokenSource(http, endpoint, credential=held)
        for given in ({"token": "tok"}, {"api_key": "key"}, {"tokens": tokens, "http": http}, {}):
            async with client_of(upstream, **given):
                pass
        assert not http.closed
    sent = [request.headers.get("Authorization") for request in upstream.requests]
    assert sent == ["Bearer tok", "Bearer key", "Bearer held", None]


def test_arguments_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(WrongUsage):
        MegaBotClient(token="a", api_key="b")
    with pytest.raises(WrongUsage):
        MegaBotClient(username="a")
    with pytest.raises(BadConfiguration):
        MegaBotClient("localhost:3000")


def test_a_client_shows_no_secret() -> None:
    assert "hunter2" not in repr(MegaBotClient(token="hunter2"))


async def test_a_first_connection_that_fails_is_not_tried_again_and_leaves_nothing() -> None:
    async with ScriptedUpstream() as upstream:
        address = upstream.url
    before = asyncio.all_tasks()
    client = MegaBotClient(address)
    with pytest.raises(CouldNotConnect):
        async with client:
            raise AssertionError
    assert client.state == "closed"
    assert asyncio.all_tasks() == before
    gc.collect()  # a session left open would warn here, and warnings are errors


async def test_a_token_that_is_refused_is_renewed_once_and_dialled_with_again() -> None:
    def gate(request: web.Request) -> web.Response | None:
        accepted = request.headers["Authorization"] == "Bearer token-2"
        return None if accepted else web.Response(status=401)

    def renew(_: dict[str, Any]) -> web.Response:
        return web.json_response({"token": "token-2"})

    async with (
        ScriptedUpstream(gate=gate, on_refresh=renew) as upstream,
        client_of(upstream, username="ada", password="secret"),
    ):
        pass
    assert len(upstream.refreshes) == 1


async def test_a_credential_that_is_refused_for_good_is_said_so_at_once() -> None:
    async def script(connection: Connection) -> None:
        refusal = {"error": "authentication_failed", "message": "No", "code": 401}
        await connection.send("connection_error", refusal)
        await connection.close(1008)

    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(NotAuthenticated, match=r"credential: No$"):
            async with client_of(upstream, api_key="hunter2"):
                raise AssertionError
    assert len(upstream.requests) == 1


async def test_a_client_works_over_tls(server_tls: ssl.SSLContext, certificate: Path) -> None:
    trust = tls_context(TlsSettings(ca_file=str(certificate)))
    async with (
        ScriptedUpstream(echo, tls=server_tls) as upstream,
        client_of(upstream, username="ada", password="secret", ssl=trust) as client,
    ):
        assert (await client.ask("over TLS")).text == "over TLS"


async def test_a_client_is_opened_once() -> None:
    async with ScriptedUpstream() as upstream:
        client = client_of(upstream)
        with pytest.raises(RuntimeError, match="not open"):
            await client.send("chat_send", {"content": "early"})
        with pytest.raises(RuntimeError, match="not open"):
            await client.send_text("early")
        async with client:
            with pytest.raises(RuntimeError, match="once"):
                await client.open()


# Sending


async def test_a_message_is_sent_as_the_specification_has_it() -> None:
    received: list[dict[str, Any]] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        while True:
            received.append(await connection.receive())

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        before = time.time()
        payload = {"content": "Hello", "attachments": []}
        first = await client.send("chat_send", payload, metadata={"platform": "web"})
        second = await client.send("custom", {"a": 1}, message_id="mine")
        await until(lambda: len(received) == 2)
    assert received[0] == {
        "id": first,
        "type": "chat_send",
        "payload": payload,
        "timestamp": received[0]["timestamp"],
        "metadata": {"platform": "web"},
    }
    assert before - 1 <= received[0]["timestamp"] <= time.time() + 1
    assert (second, received[1]["id"]) == ("mine", "mine")


async def test_exact_text_and_binary_go_as_they_are() -> None:
    received: list[str | bytes] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        while True:
            received.append(await connection.receive_text())

    texts: list[str | bytes] = [
        '{"type" : "message","content":"hi"}',
        "not json ü",
        b"\x00\xff",
        "",
        "x" * 300_000,
    ]
    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        for text in texts:
            await client.send_text(text)
        await until(lambda: len(received) == len(texts))
    assert received == texts


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        ("chat_send", {"content": ""}, r"\$\.payload\.content"),
        ("chat_send", {"content": "x" * 10_001}, "10000"),
        ("chat_send", {}, "content"),
        ("tool_call", {"tool_name": "t"}, "parameters"),
        ("", {}, "type"),
        ("custom", None, "payload"),
        ("custom", {"a": object()}, "JSON"),
        ("custom", {"a": "x" * 1_100_000}, "bytes"),
        ("custom", {"a": "\ud800"}, "JSON"),
    ],
)
async def test_what_breaks_the_specification_does_not_leave(
    kind: str, payload: Any, words: str
) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        with pytest.raises(Gone):
            await connection.receive()

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        with pytest.raises(BadData, match=words):
            await client.send(kind, payload)
        with pytest.raises(BadData, match=words):
            await client.request(kind, payload, timeout_s=5)


async def test_without_validation_it_does() -> None:
    async with ScriptedUpstream() as upstream, client_of(upstream, validate=False) as client:
        await client.send("chat_send", {})
        with pytest.raises(BadData, match="half of a character"):
            await client.send_text("\ud800")


async def test_the_rate_limit_is_kept_and_nothing_is_dropped() -> None:
    arrived: list[float] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        while True:
            await connection.receive()
            arrived.append(time.monotonic())

    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, messages_per_second=50, burst=5) as client,
    ):
        began_at = time.monotonic()
        for number in range(15):
            await client.send("custom", {"n": number})
        await until(lambda: len(arrived) == 15)
    assert arrived[4] - began_at < arrived[14] - began_at
    assert arrived[14] - began_at >= 10 / 50 - 0.01


async def test_messages_keep_their_order_and_too_many_are_refused_at_once() -> None:
    received: list[int] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        while True:
            received.append((await connection.receive())["payload"]["n"])

    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, messages_per_second=100, burst=1, queue=10) as client,
    ):
        sending = [client.send("custom", {"n": number}) for number in range(30)]
        results = await asyncio.gather(*sending, return_exceptions=True)
        refused = [result for result in results if isinstance(result, RateLimited)]
        await until(lambda: len(received) + len(refused) == 30)
    assert received == sorted(received)
    assert 10 <= len(received) <= 12
    assert isinstance(refused[0].hint, str)


# Cancellation


async def test_a_cancelled_program_leaves_no_task_no_socket_and_no_session() -> None:
    asked = asyncio.Event()
    codes: list[int | None] = []

    async def script(connection: Connection) -> None:
        await connection.greet()
        await connection.receive()
        asked.set()
        codes.append(await connection.until_gone())

    async def program(address: str) -> None:
        async with MegaBotClient(address) as client:
            await client.ask("hello")

    async with ScriptedUpstream(script) as upstream:
        before = len(asyncio.all_tasks())
        running = asyncio.get_running_loop().create_task(program(upstream.url), name="program")
        await asked.wait()
        running.cancel()
        began_at = time.monotonic()
        await asyncio.wait([running])
        assert running.cancelled()
        assert time.monotonic() - began_at < 5
        await until(lambda: codes)
        await until(lambda: len(asyncio.all_tasks()) <= before)
    assert codes == [1000]
    gc.collect()


async def test_a_program_cancelled_while_connecting_leaves_nothing() -> None:
    async def script(connection: Connection) -> None:
        await connection.until_gone()

    async def program(address: str) -> None:
        async with MegaBotClient(address):
            raise AssertionError

    async with ScriptedUpstream(script) as upstream:
        running = asyncio.get_running_loop().create_task(program(upstream.url), name="program")
        await until(lambda: upstream.connections)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        await until(lambda: upstream.connections[0].is_gone)
    gc.collect()


async def test_a_peer_that_never_answers_the_goodbye_does_not_hold_us_up() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        assert connection.request.transport is not None
        connection.request.transport.pause_reading()
        await asyncio.sleep(3600)

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        began_at = time.monotonic()
        await client.close()
        assert time.monotonic() - began_at < 5
