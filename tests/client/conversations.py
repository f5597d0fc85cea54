"""Upstreams that answer, and clients of them, as several test files use them."""

from __future__ import annotations

from typing import Any

from megabot_cli.client import MegaBotClient, Received
from megabot_cli.protocol.backoff import Linear
from tests.support.upstream import Connection, ScriptedUpstream

SOON = Linear(0.01, 5)


async def echo(connection: Connection) -> None:
    """Answers each chat_send with two chunks and a chat_receive, by name."""
    await connection.greet()
    while True:
        question = await connection.receive()
        if question["type"] == "chat_send":
            text = question["payload"]["content"]
            half = len(text) // 2
            await connection.stream(text[:half], text[half:], reply_to=question["id"])
            await connection.send("chat_receive", {"content": text}, reply_to=question["id"])


def client_of(upstream: ScriptedUpstream, **options: Any) -> MegaBotClient:
    """A client without a rate limit that comes back soon."""
    return MegaBotClient(upstream.url, **{"messages_per_second": 0, "reconnect": SOON, **options})


class Twice:
    """An upstream whose first connection does one thing, and all later ones another."""

    def __init__(self, first: Any, later: Any) -> None:
        self._scripts = [first]
        self._later = later

    async def __call__(self, connection: Connection) -> None:
        script = self._scripts.pop() if self._scripts else self._later
        await script(connection)


async def greet_then_cut(connection: Connection) -> None:
    await connection.greet()
    await connection.receive()
    await connection.cut()


async def greet_and_answer(connection: Connection) -> None:
    await connection.greet()
    while True:
        question = await connection.receive()
        await connection.send("chat_receive", {"content": "yes"}, reply_to=question["id"])


async def read_all(client: MegaBotClient) -> list[Received]:
    return [received async for received in client]
