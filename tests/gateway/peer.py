"""A client of the gateway that none of our own client code is part of."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import msgspec

from megabot_cli.gateway.server import Gateway

DEADLINE_S = 10.0

Message = dict[str, Any]


class Closed(Exception):
    """The gateway closed the connection."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Peer:
    """One connection; `received` are all messages it saw so far."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.session_id = ""
        self.user_id = ""
        self.received: list[Message] = []
        self._ids = itertools.count(1)

    async def send(self, message_type: str, payload: object, message_id: str | None = None) -> str:
        message_id = message_id or f"m{next(self._ids)}"
        message = {"id": message_id, "type": message_type, "payload": payload}
        await self.send_text(msgspec.json.encode(message).decode())
        return message_id

    async def send_text(self, text: str) -> None:
        await self.socket.send_str(text)

    async def say(self, content: str) -> str:
        return await self.send("chat_send", {"content": content})

    async def next(self, deadline_s: float = DEADLINE_S) -> Message:
        """The next message. Raises Closed when there is none any more."""
        async with asyncio.timeout(deadline_s):
            frame = await self.socket.receive()
        if frame.type is aiohttp.WSMsgType.CLOSE:
            # aiohttp's close_code is 1006 when its own goodbye could no longer be sent.
            raise Closed(frame.data)
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise Closed(self.socket.close_code)
        message = cast(Message, msgspec.json.decode(frame.data))
        self.received.append(message)
        return message

    async def until(self, message_type: str, reply_to: str | None = None) -> Message:
        """Read on to a message of this type (that answers `reply_to`)."""
        while True:
            message = await self.next()
            if message["type"] == message_type and reply_to in (None, replied_to(message)):
                return message

    async def answer(self, message_id: str) -> list[Message]:
        """Everything up to the `chat_receive` that answers a message."""
        start = len(self.received)
        await self.until("chat_receive", message_id)
        return self.received[start:]

    async def closed(self) -> int | None:
        """Read to the end; return the close code."""
        while True:
            try:
                await self.next()
            except Closed as end:
                return end.code


def replied_to(message: Message) -> str | None:
    return cast("str | None", message.get("metadata", {}).get("reply_to"))


class House:
    """A running gateway with one user, and a way in."""

    def __init__(self, gateway: Gateway, http: aiohttp.ClientSession, key: str) -> None:
        self.gateway = gateway
        self.http = http
        self.key = key

    async def post(self, path: str, body: object) -> tuple[int, Message]:
        async with self.http.post(self.gateway.http_url + path, json=body) as response:
            return response.status, await response.json()

    async def login(self, username: str = "ada", password: str = "lovelace") -> Message:
        body = {"username": username, "password": password}
        status, tokens = await self.post("/api/auth/login", body)
        assert status == 200, tokens
        return tokens

    @asynccontextmanager
    async def dialed(
        self, *, key: str | None = None, compress: int = 0, **query: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A socket that was upgraded; nothing has been read from it."""
        headers = {"X-API-Key": key or self.key}
        async with self.http.ws_connect(
            self.gateway.url, params=query, headers=headers, compress=compress
        ) as socket:
            yield socket

    @asynccontextmanager
    async def connected(
        self, *, key: str | None = None, compress: int = 0, **query: str
    ) -> AsyncIterator[Peer]:
        """A connection that has been greeted."""
        async with self.dialed(key=key, compress=compress, **query) as socket:
            peer = Peer(socket)
            greeting = await peer.next()
            assert greeting["type"] == "connection_established", greeting
            peer.session_id = greeting["payload"]["session_id"]
            peer.user_id = greeting["payload"]["user_id"]
            yield peer
