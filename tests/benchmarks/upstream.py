"""The upstream of the benchmarks: greets, then answers every message. Its own process."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import uvloop
from aiohttp import web


async def serve(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(compress=False, decode_text=False)
    await socket.prepare(request)
    session = request.query.get("session_id") or f"sess_{id(socket):x}"
    greeting = {
        "id": "msg_greeting",
        "type": "connection_established",
        "payload": {"session_id": session, "user_id": "user_bench", "capabilities": []},
        "timestamp": 0,
    }
    await socket.send_str(json.dumps(greeting))
    async for message in socket:
        answer = message.data.replace(b'"chat_send"', b'"chat_receive"', 1)
        await socket.send_frame(answer, aiohttp.WSMsgType.TEXT)
    return socket


async def main() -> None:
    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
