"""An upstream that does what a test says: login, refresh and socket on a loopback port.

    async def script(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        await connection.send("chat_receive", {"content": "yes"}, reply_to=question["id"])

    async with ScriptedUpstream(script) as upstream:
        ... upstream.url ...

The script is run for each connection; what it raises is raised at the end of the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket as sockets
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.ports import kept_port

Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse] | web.StreamResponse]
Gate = Callable[[web.Request], web.StreamResponse | None]


class Gone(Exception):
    """The client closed or lost the connection; ends a script in good order."""


class Connection:
    """One WebSocket that a client opened, seen from the upstream."""

    def __init__(self, upstream: ScriptedUpstream, request: web.Request) -> None:
        self.upstream = upstream
        self.request = request
        self.query = request.query
        self.headers = request.headers
        self.session_id = request.query.get("session_id") or upstream.new_session_id()
        self.socket = web.WebSocketResponse(max_msg_size=0, compress=upstream.compress)
        self._ids = itertools.count(1)

    async def greet(self, session_id: str | None = None, **payload: Any) -> None:
        """Send `connection_established`, by default for the session that was asked for."""
        self.session_id = session_id or self.session_id
        greeting = {"session_id": self.session_id, "user_id": "user_1", "capabilities": ["chat"]}
        await self.send("connection_established", {**greeting, **payload})

    async def send(self, kind: str, payload: Any, **metadata: Any) -> None:
        """Send a message; keyword arguments are its metadata."""
        message: dict[str, Any] = {
            "id": f"up_{next(self._ids)}",
            "type": kind,
            "payload": payload,
            "timestamp": 1640995200,
        }
        if metadata:
            message["metadata"] = metadata
        await self.send_text(json.dumps(message))

    async def stream(
        self, *chunks: str, first: int = 1, whole: bool = True, **metadata: Any
    ) -> None:
        """Send `chat_stream` chunks; with `whole` the last says that it is the last."""
        for place, chunk in enumerate(chunks):
            last = whole and place == len(chunks) - 1
            payload = {"chunk": chunk, "is_complete": last, "sequence": first + place}
            await self.send("chat_stream", payload, **metadata)

    async def send_text(self, text: str) -> None:
        await self._sent(self.socket.send_str(text))

    async def send_bytes(self, data: bytes) -> None:
        await self._sent(self.socket.send_bytes(data))

    async def send_raw(self, data: bytes) -> None:
        """Bytes straight onto the wire, such as frames that no library would build."""
        assert self.request.transport is not None
        self.request.transport.write(data)

    async def _sent(self, sending: Awaitable[None]) -> None:
        try:
            await sending
        except ConnectionError as fault:
            raise Gone from fault

    async def receive_text(self) -> str | bytes:
        """The next message, exactly. Raises Gone when there is none any more."""
        message = await self.socket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise Gone
        data: str | bytes = message.data
        return data

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.receive_text())
        return message

    @property
    def is_gone(self) -> bool:
        """Whether the client has left, be it before it was listened to: then `socket` is never
        closed."""
        return self.request.transport is None

    async def until_gone(self) -> int | None:
        """Read until the client closes; the close code it gave."""
        with contextlib.suppress(Gone):
            while True:
                await self.receive_text()
        return self.socket.close_code

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.socket.close(code=code, message=reason.encode())

    async def cut(self) -> None:
        """Break the connection like a cut line: no close frame."""
        assert self.request.transport is not None
        self.request.transport.abort()


Script = Callable[[Connection], Awaitable[None]]


async def greet_and_wait(connection: Connection) -> None:
    """The script of an upstream that has nothing to say."""
    await connection.greet()
    await connection.until_gone()


class Keeping:
    """The script of an upstream that says nothing and keeps what it hears: `got`."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        while True:
            self.got.append(str(await connection.receive_text()))


def issue_token(body: dict[str, Any]) -> web.Response:
    """The login that lets everybody in."""
    return web.json_response({"token": "token-1", "expires_in": 3600, "refresh_token": "refresh-1"})


class ScriptedUpstream:
    """Serves `/api/auth/login`, `/api/auth/refresh` and `/ws`.

    `on_login`, `on_refresh` answer the decoded body; `gate` may refuse an upgrade with a
    response of its own. `logins`, `refreshes` and `connections` tell what came.
    """

    def __init__(
        self,
        script: Script = greet_and_wait,
        *,
        on_login: Answer = issue_token,
        on_refresh: Answer = issue_token,
        gate: Gate | None = None,
        tls: ssl.SSLContext | None = None,
        compress: bool = False,
    ) -> None:
        self.script = script
        self.on_login = on_login
        self.on_refresh = on_refresh
        self.gate = gate
        self.compress = compress
        self.logins: list[dict[str, Any]] = []
        self.refreshes: list[dict[str, Any]] = []
        self.requests: list[web.Request] = []  # upgrades that were asked for
        self.connections: list[Connection] = []
        self.port = 0
        self._kept = contextlib.ExitStack()  # its port, also while it is stopped
        self._tls = tls
        self._faults: list[Exception] = []
        self._sessions = itertools.count(1)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}/ws"

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def new_session_id(self) -> str:
        return f"sess_{next(self._sessions)}"

    async def start(self) -> None:
        """Listen; after a stop, on the same port again."""
        app = web.Application()
        app.router.add_post("/api/auth/login", self._login)
        app.router.add_post("/api/auth/refresh", self._refresh)
        app.router.add_get("/ws", self._connect)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()
        self.port = self.port or self._kept.enter_context(kept_port())
        listener = sockets.create_server(("127.0.0.1", self.port), backlog=128)
        await web.SockSite(self._runner, listener, ssl_context=self._tls).start()

    async def stop(self) -> None:
        """Stop listening and cut all connections."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for connection in self.connections:
            if connection.request.transport is not None:
                await connection.cut()
        await runner.cleanup()

    async def __aenter__(self) -> ScriptedUpstream:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        self._kept.close()
        if self._faults and error is None:
            raise self._faults[0]

    async def _login(self, request: web.Request) -> web.StreamResponse:
        self.logins.append(await request.json())
        return await _answered(self.on_login(self.logins[-1]))

    async def _refresh(self, request: web.Request) -> web.StreamResponse:
        self.refreshes.append(await request.json())
        return await _answered(self.on_refresh(self.refreshes[-1]))

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        refusal = self.gate(request) if self.gate is not None else None
        if refusal is not None:
            return refusal
        connection = Connection(self, request)
        await connection.socket.prepare(request)
        self.connections.append(connection)
        try:
            await self.script(connection)
        except Gone:
            await asyncio.sleep(0)
        except Exception as fault:
            self._faults.append(fault)
        return connection.socket


async def _answered(
    answer: Awaitable[web.StreamResponse] | web.StreamResponse,
) -> web.StreamResponse:
    return answer if isinstance(answer, web.StreamResponse) else await answer
