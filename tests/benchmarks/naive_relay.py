"""The peer: relaying as one writes it first, `async for` and `send_str`, on uvloop."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import uvloop
from aiohttp import web


async def main(upstream_url: str) -> None:
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def serve(request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        async with http.ws_connect(upstream_url) as upstream:

            async def down() -> None:
                async for message in upstream:
                    await client.send_str(message.data)

            reader = asyncio.get_running_loop().create_task(down(), name="down")
            async for message in client:
                await upstream.send_str(message.data)
            reader.cancel()
        return client

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
