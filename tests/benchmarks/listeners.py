"""Many clients that only listen, as cheap as Python has them. Its own process.

Prints one line of JSON when all are connected, waits for a line on stdin, has the first client
ask for the stream, and prints another when every client has had all of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import time
from functools import partial

import uvloop
from yarl import URL

from megabot_cli.client.wire import client_frame

_SENT_AT = re.compile(rb"sent_at=(\d+\.\d+)")
_OVERLAP = len(b"sent_at=00000000000.000000")
AT_ONCE = 100


class Listener(asyncio.Protocol):
    """Counts messages; `timed` notes how long each was on its way."""

    def __init__(self, url: URL, *, timed: bool) -> None:
        self._url = url
        self._timed = timed
        self._tail = b""
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.waits: list[float] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {self._url.raw_path_qs} HTTP/1.1\r\nHost: {self._url.host}:{self._url.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n"
        )
        self.transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        if not self.connected.done():
            self._tail += data
            if b"connection_established" in self._tail:
                self._tail = b""
                self.connected.set_result(None)
            return
        data = self._tail + data
        end = 0
        now = time.perf_counter()
        for found in _SENT_AT.finditer(data):
            end = found.end()
            self.received += 1
            if self._timed:
                self.waits.append(now - float(found[1]))
        self._tail = data[max(end, len(data) - _OVERLAP) :]

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.connected.done():
            self.connected.set_exception(fault or ConnectionError("closed before the greeting"))


def _itself(one: Listener) -> Listener:
    return one


async def main(url: URL, clients: int, question: str, timed: int, stopped: int) -> None:
    """`timed` and `stopped` of the clients note times, and stop reading when the stream begins."""
    loop = asyncio.get_running_loop()
    host, port = str(url.host), url.port or 80
    listeners = [Listener(url, timed=n < timed) for n in range(clients)]
    for start in range(0, clients, AT_ONCE):
        group = listeners[start : start + AT_ONCE]
        await asyncio.gather(
            *(loop.create_connection(partial(_itself, one), host, port) for one in group)
        )
        async with asyncio.timeout(60):
            await asyncio.gather(*(one.connected for one in group))
    print(json.dumps({"connected": clients}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    reading = listeners[: clients - stopped]
    for one in listeners[clients - stopped :]:
        one.transport.pause_reading()
    wanted = int(question.split()[0])
    if wanted:
        ask = {"id": "ask", "type": "chat_send", "payload": {"content": question}, "timestamp": 0}
        listeners[0].transport.write(client_frame(json.dumps(ask).encode(), os.urandom(4)))
    deadline = time.perf_counter() + 120
    # Each counts for itself, as cheaply as it can; who waits for all of them looks.
    while any(one.received < wanted for one in reading) and time.perf_counter() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    waits = sorted(wait for one in reading for wait in one.waits)
    result: dict[str, float] = {"received": sum(one.received for one in reading)}
    if waits:
        result["p50_ms"] = waits[len(waits) // 2] * 1000
        result["p99_ms"] = waits[int(len(waits) * 0.99)] * 1000
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    address, count, asked, timing, halted = sys.argv[1:6]
    uvloop.run(main(URL(address), int(count), asked, int(timing), int(halted)))
