"""Many clients that each ask for a long answer at the same moment. Its own process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import aiohttp
import uvloop

from megabot_cli.client.wire import client_frame

AT_ONCE = 50


async def read(socket: aiohttp.ClientWebSocketResponse[bool], gaps: list[float]) -> int:
    chunks = 0
    last = 0.0
    async for message in socket:
        data: bytes = message.data
        if b'"chat_stream"' in data:
            now = time.perf_counter()
            if chunks:
                gaps.append(now - last)
            last = now
            chunks += 1
        elif b'"chat_receive"' in data:
            break
    return chunks


async def main(url: str, streams: int, words: int) -> None:
    question = {
        "id": "ask",
        "type": "chat_send",
        "payload": {"content": f"tell me {words} words"},
        "timestamp": 0,
    }
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        sockets: list[aiohttp.ClientWebSocketResponse[bool]] = []
        for _ in range(0, streams, AT_ONCE):
            opening = (http.ws_connect(url, decode_text=False) for _ in range(AT_ONCE))
            sockets += await asyncio.gather(*opening)
        for socket in sockets:
            await socket.receive()
        gaps: list[float] = []
        began = time.perf_counter()
        frame = client_frame(json.dumps(question).encode(), os.urandom(4))
        for socket in sockets:
            connection = socket._response.connection
            assert connection is not None
            assert connection.transport is not None
            connection.transport.write(frame)
        chunks = sum(await asyncio.gather(*(read(socket, gaps) for socket in sockets)))
        took_s = time.perf_counter() - began
        gaps.sort()
        result = {
            "chunks": chunks,
            "took_s": took_s,
            "p50_ms": gaps[len(gaps) // 2] * 1000,
            "p99_ms": gaps[int(len(gaps) * 0.99)] * 1000,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
