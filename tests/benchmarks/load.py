"""The load: clients that each keep a few messages in flight. Its own process."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque

import aiohttp
import uvloop


def message(message_id: str, size: int) -> str:
    """A chat_send that says whose answer its echo is."""
    text = (
        '{"id":"%s","type":"chat_send","payload":{"content":"%s"},"timestamp":1700000000,'
        '"metadata":{"reply_to":"%s"}}'
    )
    return text % (message_id, "x" * (size - len(text) + 6 - 2 * len(message_id)), message_id)


async def client(
    http: aiohttp.ClientSession, url: str, texts: list[str], ends_at: float
) -> list[float]:
    """Keep all of `texts` under way until `ends_at`; returns each round trip in seconds."""
    waits: list[float] = []
    sent: deque[float] = deque()
    again = deque(texts)
    async with http.ws_connect(url, decode_text=False) as socket:
        await socket.receive(timeout=20)  # the greeting
        for text in texts:
            sent.append(time.perf_counter())
            await socket.send_str(text)
        async for answer in socket:
            if b'"chat_receive"' not in answer.data:
                continue
            now = time.perf_counter()
            waits.append(now - sent.popleft())
            if now >= ends_at:
                if not sent:
                    break
                continue
            sent.append(now)
            await socket.send_str(again[0])
            again.rotate(-1)
    return waits


async def main(url: str, clients: int, in_flight: int, size: int, seconds: float) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        # Connecting costs too; the clients start together once all are there.
        ends_at = time.perf_counter() + 1.0 + seconds
        runs = [
            client(http, url, [message(f"m{n}_{k}", size) for k in range(in_flight)], ends_at)
            for n in range(clients)
        ]
        waits = sorted(wait for run in await asyncio.gather(*runs) for wait in run)
    count = len(waits)
    print(
        json.dumps(
            {
                "round_trips": count,
                "p50_ms": waits[count // 2] * 1000,
                "p99_ms": waits[int(count * 0.99)] * 1000,
            }
        )
    )


if __name__ == "__main__":
    url, clients, in_flight, size, seconds = sys.argv[1:6]
    uvloop.run(main(url, int(clients), int(in_flight), int(size), float(seconds)))
