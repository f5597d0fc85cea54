"""`FlatClient` with a gateway of its dialect, and with upstreams that are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from megabot_cli.client.flat import FlatClient
from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.errors import (
    BadData,
    ConnectionLost,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    RateLimited,
    UpstreamRefused,
)
from megabot_cli.gateway.flat import GREETING, FlatGateway

TOKEN = "a-static-token"
GREETED = '{"type":"message","content":"Hello","sender":"MegaBot"}'


@pytest.fixture
async def gateway() -> AsyncIterator[FlatGateway]:
    gateway = FlatGateway(
        GatewaySettings(listen="127.0.0.1:0", latency_s=0, chunk_delay_s=0),
        LimitSettings(messages_per_second=0),
        token=TOKEN,
    )
    await gateway.start()
    yield gateway
    await gateway.stop()


@asynccontextmanager
async def upstream(
    talk: Callable[[web.WebSocketResponse], Awaitable[None]],
) -> AsyncIterator[str]:
    """An upstream that does what `talk` does with each socket, then closes it."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await talk(socket)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    server = TestServer(app)
    await server.start_server()
    try:
        yield f"ws://127.0.0.1:{server.port}/ws"
    finally:
        await server.close()


async def test_it_asks_and_hears_the_answer(gateway: FlatGateway) -> None:
    async with FlatClient(gateway.url, token=TOKEN) as client:
        assert GREETING in (client.greeting or "")
        assert (await client.ask("hi")).content == (
            "You said “hi” to me, which is one word and 2 characters."
        )
        assert (await client.request("set_mode", mode="build")).text == (
            '{"type":"mode_updated","mode":"build"}'
        )


async def test_questions_asked_at_once_get_their_own_answers(gateway: FlatGateway) -> None:
    async with FlatClient(gateway.url, token=TOKEN) as client:
        answers = await asyncio.gather(*(client.ask(f"q{number}") for number in range(8)))
    for number, answer in enumerate(answers):
        assert f"“q{number}”" in (answer.content or "")


async def test_it_hands_out_what_comes_unasked(gateway: FlatGateway) -> None:
    async with (
        FlatClient(gateway.url, token=TOKEN) as asker,
        FlatClient(gateway.url, token=TOKEN) as other,
    ):
        await asker.request("command", command="ls")
        asked = await other.next_of("approval_required")
    assert "Terminal Execute: ls" in asked.text


async def test_a_bad_token_is_no_authentication(gateway: FlatGateway) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        async with FlatClient(gateway.url, token="wrong-token"):
            raise AssertionError("nobody is let in")
    assert "wrong-token" not in str(refused.value)


async def test_what_is_not_valid_does_not_leave(gateway: FlatGateway) -> None:
    async with FlatClient(gateway.url, token=TOKEN) as client:
        for wrong in ("", "x" * 10_001):
            with pytest.raises(BadData):
                await client.ask(wrong)
        with pytest.raises(BadData):
            await client.send("chat_send", content="hi")
        assert (await client.ask("and on it goes")).content


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error 429: Too fast.", RateLimited),
        ("Error 400: Bad.", BadData),
        ("Error: out of order", UpstreamRefused),
        ("anything else", UpstreamRefused),
        ('{"type":"connection_error","payload":{"error":"upstream_unavailable"}}', CouldNotConnect),
    ],
)
async def test_a_refusal_is_raised_as_what_it_stands_for(
    said: str, kind: type[MegabotError]
) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str(GREETED)
        await socket.receive()
        await socket.send_str(said)
        await socket.receive()

    async with upstream(talk) as url, FlatClient(url, token=TOKEN) as client:
        with pytest.raises(kind):
            await client.ask("hi")


@pytest.mark.parametrize(
    "first",
    ["plain words", "[]", '{"type":"status","content":"x"}', '{"content":"x"}', "[" * 9_000],
)
async def test_an_upstream_that_greets_otherwise_is_refused(first: str) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str(first)
        await socket.receive()

    async with upstream(talk) as url:
        with pytest.raises(UpstreamRefused, match="did not begin with a message"):
            await FlatClient(url, token=TOKEN).open()


async def test_a_connection_that_falls_is_told_to_who_waits() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str(GREETED)
        await socket.receive()

    async with upstream(talk) as url, FlatClient(url, token=TOKEN) as client:
        with pytest.raises(ConnectionLost):
            await client.ask("hi")


async def test_closing_ends_the_iteration(gateway: FlatGateway) -> None:
    client = FlatClient(gateway.url, token=TOKEN)
    await client.open()
    await client.close()
    await client.close()
    assert [received async for received in client] == []
