"""Upstreams that do what a fault test needs, and otherwise answer."""

from __future__ import annotations

from typing import Any

from tests.support.upstream import Connection


def content(message: dict[str, Any]) -> str:
    return str(message["payload"]["content"])


async def answer(connection: Connection, message: dict[str, Any]) -> None:
    """A stream of two chunks and the whole answer, as MegaBot answers."""
    if message["type"] != "chat_send":
        return
    said = content(message)
    half = len(said) // 2
    await connection.stream(said[:half], said[half:], reply_to=message["id"])
    await connection.send("chat_receive", {"content": said}, reply_to=message["id"])


async def echo(connection: Connection) -> None:
    """Answers every chat message with its own text."""
    await connection.greet()
    while True:
        await answer(connection, await connection.receive())


class Lasting:
    """An upstream whose current connection a test can reach, and that knows its sessions.

    `forgets`: a session that was asked for is unknown, and a new one is given.
    """

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.forgets = False
        self.received: list[str] = []  # contents of chat messages, as they came

    async def __call__(self, connection: Connection) -> None:
        asked = connection.query.get("session_id")
        new = connection.upstream.new_session_id() if asked and self.forgets else None
        await connection.greet(new)
        self.connection = connection
        while True:
            message = await connection.receive()
            if message["type"] == "chat_send":
                self.received.append(content(message))
            await self.heard(connection, message)

    async def heard(self, connection: Connection, message: dict[str, Any]) -> None:
        """What a test changes: how a message is answered."""
        await answer(connection, message)

    async def tell(self, count: int, first: int = 0) -> None:
        """Numbered notifications, to whoever is there."""
        assert self.connection is not None
        for number in range(first, first + count):
            await self.connection.send("notification", {"type": "info", "n": number})
