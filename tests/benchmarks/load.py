"""The load: clients that each keep a few messages in flight. Its own process."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp
import uvloop


def message(size: int) -> str:
    text = '{"id":"msg_1","type":"chat_send","payload":{"content":"%s"},"timestamp":1700000000}'
    return text % ("x" * (size - len(text) + 2))


async def client(
    http: aiohttp.ClientSession, url: str, text: str, in_flight: int, ends_at: float
) -> list[float]:
    """Keep `in_flight` messages under way until `ends_at`; returns each round trip in seconds."""
    waits: list[float] = []
    sent: list[float] = []
    async with http.ws_connect(url, decode_text=False) as socket:
        await socket.receive(timeout=20)  # the greeting
        for _ in range(in_flight):
            sent.append(time.perf_counter())
            await socket.send_str(text)
        async for answer in socket:
            if b'"chat_send"' not in answer.data:
                continue
            now = time.perf_counter()
            waits.append(now - sent.pop(0))
            if now >= ends_at:
                if not sent:
                    break
                continue
            sent.append(now)
            await socket.send_str(text)
    return waits


async def main(url: str, clients: int, in_flight: int, size: int, seconds: float) -> None:
    text = message(size)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        # Connecting costs too; the clients start together once all are there.
        ends_at = time.perf_counter() + 1.0 + seconds
        runs = [client(http, url, text, in_flight, ends_at) for _ in range(clients)]
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
