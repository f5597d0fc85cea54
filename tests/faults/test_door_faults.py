"""Strangers at the door: slow, silent, many, or from a page that has no business here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.faults.rig import Rig
from tests.faults.upstreams import echo

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def knocking(rig: Rig, count: int, words: bytes = b"") -> AsyncIterator[list[Connection]]:
    """Connections that say this much, and wait."""
    host, port = rig.url.split("/")[2].split(":")
    opened = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(words)
        opened.append((reader, writer))
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def cut(connection: Connection, limit_s: float) -> float:
    """How long until the relay hangs up, s; whatever it says before."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(connection[0].read(), limit_s)
    return time.monotonic() - began


async def answered_soon(rig: Rig) -> None:
    """A client that behaves is served as ever, and need not wait for what the others have left."""
    began = time.monotonic()
    client = await rig.client()
    await client.ask("hello")
    assert await client.settled() == {"reply": 1}
    assert time.monotonic() - began < 8


async def test_slowloris_and_silence_are_cut_at_the_deadline(rig: Rig) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(server.url, relay={"header_deadline_s": 1.0})
    async with (
        knocking(rig, 5) as silent,
        knocking(rig, 5, b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ") as slow,
    ):

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    for _, writer in slow:
                        writer.write(b"a")
                    await asyncio.sleep(0.1)

        dripping = asyncio.ensure_future(drip())
        await answered_soon(rig)
        times = await asyncio.gather(*(cut(each, 10) for each in [*silent, *slow]))
        assert max(times) < 8
        dripping.cancel()
    assert await rig.metric('refusals_total{reason="deadline"}') >= 10


async def test_a_thousand_sockets_before_authentication_leave_room_for_who_speaks(
    rig: Rig,
) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(server.url, relay={"header_deadline_s": 30.0})
    await answered_soon(rig)
    memory = rig.memory_bytes()
    async with knocking(rig, 1000):
        await answered_soon(rig)  # in the thick of it
        await rig.metric_reaches('refusals_total{reason="crowded"}', 950)
        # Who asks is one; the last few go when the crowd's moment is over.
        while await rig.metric("strangers") > 33:  # noqa: ASYNC110  another process's state
            await asyncio.sleep(0.05)
        await answered_soon(rig)
        assert rig.memory_bytes() - memory < 32 * 1024 * 1024


FOREIGN: list[tuple[dict[str, str], int]] = [
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://10.0.0.7:8080"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),  # another program's page on this machine
    ({"Origin": ""}, 400),
    ({"Origin": "http://[::1"}, 400),
    ({"Host": "evil.example"}, 403),  # a name that was made to point here
    ({"Host": "127.0.0.1.evil.example:80"}, 403),
    ({"Host": "user@127.0.0.1"}, 400),
    ({"Host": "[::1"}, 400),
    ({"Host": ""}, 400),
]


@pytest.mark.parametrize("path", ["/ws", "/relay/tap"])
async def test_foreign_pages_and_rebound_names_are_refused_before_the_upgrade(
    rig: Rig, path: str
) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(server.url)
    for headers, status in FOREIGN:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await rig.http.ws_connect(rig.url.replace("/ws", path), headers=headers)
        assert refused.value.status == status, headers
        await answered_soon(rig)
    assert len(rig.relay.error_lines) < 50  # nobody fills the log by knocking


async def test_a_rebound_name_is_refused_on_the_admin_listener_too(rig: Rig) -> None:
    server = await rig.upstream(echo)
    await rig.open_relay(server.url)
    for path in ("/metrics", "/relay/status", "/healthz"):
        async with rig.http.get(rig.admin + path, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403, path
