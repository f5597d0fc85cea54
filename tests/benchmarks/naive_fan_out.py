"""The peer: one upstream connection for all clients, `for ws in clients: await ws.send_str`.

With `bare`: what the kernel alone takes, a frame built once and one `send` for each client.
"""

from __future__ import annotations

import json
import os
import sys

import aiohttp
import uvloop
from aiohttp import web

from megabot_cli.protocol.frames import server_frame


async def main(upstream_url: str, *, bare: bool) -> None:
    http = aiohttp.ClientSession()
    upstream = await http.ws_connect(upstream_url)
    clients: list[web.WebSocketResponse[bool]] = []
    descriptors: list[int] = []
    greeting = await upstream.receive_str()

    async def down() -> None:
        async for message in upstream:
            if bare:
                frame = server_frame(message.data.encode())
                for descriptor in descriptors:
                    os.write(descriptor, frame)
                continue
            for client in clients:
                await client.send_str(message.data)

    async def serve(request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        await client.send_str(greeting)
        clients.append(client)
        assert request.transport is not None
        descriptors.append(request.transport.get_extra_info("socket").fileno())
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
    uvloop.run(main(sys.argv[1], bare="bare" in sys.argv))
