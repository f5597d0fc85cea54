"""The peer: one upstream connection for all clients, `for ws in clients: await ws.send_str`."""

from __future__ import annotations

import json
import sys

import aiohttp
import uvloop
from aiohttp import web


async def main(upstream_url: str) -> None:
    http = aiohttp.ClientSession()
    upstream = await http.ws_connect(upstream_url)
    clients: list[web.WebSocketResponse[bool]] = []
    greeting = await upstream.receive_str()

    async def down() -> None:
        async for message in upstream:
            for client in clients:
                await client.send_str(message.data)

    async def serve(request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        await client.send_str(greeting)
        clients.append(client)
        async for message in client:
            await upstream.send_str(message.data)
        clients.remove(client)
        return client

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(json.dumps({"url": f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"}), flush=True)
    await down()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
