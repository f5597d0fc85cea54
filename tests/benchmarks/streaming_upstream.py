"""The upstream of the fan-out benchmarks: streams as the first question says. Its own process.

The question's content is `MESSAGES TOGETHER PAUSE_S`: so many messages of 250 bytes, so many of
them in one write, with a pause between writes. Each message says when it was sent.
"""

from __future__ import annotations

import asyncio
import json
import time

import uvloop
from aiohttp import web

from megabot_cli.protocol.frames import server_frame

SIZE = 250


def message(number: int) -> bytes:
    head = (
        f'{{"id":"msg_{number}","type":"notification","timestamp":0,"payload":{{"content":"'
        f"sent_at={time.perf_counter():018.6f} "
    )
    return f'{head:x<{SIZE - 3}}"}}}}'.encode()


async def stream(transport: asyncio.Transport, messages: int, together: int, pause: float) -> None:
    for first in range(0, messages, together):
        frames = [server_frame(message(first + n)) for n in range(together)]
        transport.write(b"".join(frames))
        await asyncio.sleep(pause)


async def serve(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    greeting = {
        "id": "msg_greeting",
        "type": "connection_established",
        "payload": {"session_id": "bench", "user_id": "user_bench", "capabilities": []},
        "timestamp": 0,
    }
    await socket.send_str(json.dumps(greeting))
    async for question in socket:
        messages, together, pause = json.loads(question.data)["payload"]["content"].split()
        assert request.transport is not None
        await stream(request.transport, int(messages), int(together), float(pause))
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
