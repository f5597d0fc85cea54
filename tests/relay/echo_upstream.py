"""An upstream that greets as the specification says and then echoes whatever comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web


async def _serve(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    session = request.query.get("session_id") or f"sess_{id(socket):x}"
    greeting = {
        "id": "msg_1",
        "type": "connection_established",
        "payload": {"session_id": session, "user_id": "user_1", "capabilities": []},
        "timestamp": 1,
    }
    await socket.send_str(json.dumps(greeting))
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


@asynccontextmanager
async def echo_upstream() -> AsyncIterator[str]:
    """Give the URL of a running echo upstream."""
    app = web.Application()
    app.router.add_get("/ws", _serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
    finally:
        await runner.cleanup()
