"""The load: clients that each keep a few messages in flight. Its own process."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from functools import partial
from urllib.parse import urlsplit

import uvloop

from tests.benchmarks.lean_websocket import LeanSocket, frame


def message(message_id: str, size: int) -> str:
    """A chat_send that says whose answer its echo is."""
    text = (
        '{"id":"%s","type":"chat_send","payload":{"content":"%s"},"timestamp":1700000000,'
        '"metadata":{"reply_to":"%s"}}'
    )
    return text % (message_id, "x" * (size - len(text) + 6 - 2 * len(message_id)), message_id)


_ANSWER = b'"chat_receive"'


class Client(LeanSocket):
    """Keeps all of `texts` under way from `start` on; `waits` are round trips in seconds.

    `interval_s`: send one so often instead, whatever comes back.
    """

    def __init__(self, url: str, texts: list[str], interval_s: float) -> None:
        super().__init__(url)
        self._interval_s = interval_s
        self._frames = deque(frame(text.encode(), masked=True) for text in texts)
        self._ends_at = 0.0
        self._due = 0.0  # when the next is to leave
        self._begun = b""  # of what came, too little to hold a whole answer
        self._sent: deque[float] = deque()
        self.waits: list[float] = []
        self.greeted = asyncio.get_running_loop().create_future()
        self.done = asyncio.get_running_loop().create_future()

    def start(self, ends_at: float) -> None:
        self._ends_at = ends_at
        if self._interval_s:
            loop = asyncio.get_running_loop()
            self._due = loop.time() + random.uniform(0, self._interval_s)
            loop.call_at(self._due, self._send_one)
        else:
            self._send(len(self._frames), time.perf_counter())

    def arrived(self, messages: list[bytes]) -> None:
        self.greeted.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Answers are only counted: this shares a core with the upstream, and a relay that waits
        for both has less to do in each turn than one that is busy."""
        if not self.greeted.done():
            super().data_received(data)
            return
        data = self._begun + data
        self._begun = data[1 - len(_ANSWER) :]
        count = data.count(_ANSWER)
        if not count:
            return
        now = time.perf_counter()
        for _ in range(count):
            self.waits.append(now - self._sent.popleft())
        if now < self._ends_at:
            if not self._interval_s:
                self._send(count, now)
        elif not self._sent and not self.done.done():
            self.transport.close()
            self.done.set_result(None)

    def _send_one(self) -> None:
        now = time.perf_counter()
        if now < self._ends_at:
            self._send(1, now)
            # By when it was due, not by when it came: who were late together once would stay
            # together, and what began as a flow would end as bursts.
            self._due += self._interval_s
            asyncio.get_running_loop().call_at(self._due, self._send_one)
        elif not self._sent and not self.done.done():
            self.transport.close()
            self.done.set_result(None)

    def _send(self, count: int, now: float) -> None:
        if not count:
            return
        self._sent.extend([now] * count)
        leaving = [self._frames[number] for number in range(count)]
        self._frames.rotate(-count)
        self.transport.write(b"".join(leaving))

    def connection_lost(self, exc: Exception | None) -> None:
        for awaited in (self.greeted, self.done):
            if not awaited.done():
                awaited.set_exception(exc or ConnectionError("the relay hung up"))


def _same(client: Client) -> Client:
    return client


async def main(
    url: str, clients: int, in_flight: int, size: int, seconds: float, rate: float
) -> None:
    """`rate` messages a second of all clients together; 0 is as many as come back."""
    loop = asyncio.get_running_loop()
    host, _, port = urlsplit(url).netloc.rpartition(":")
    running = []
    for number in range(clients):
        texts = [message(f"m{number}_{place}", size) for place in range(in_flight)]
        client = Client(url, texts, clients / rate if rate else 0.0)
        await loop.create_connection(partial(_same, client), host, int(port))
        running.append(client)
    # Whoever is still let in makes the others' messages late: nobody starts before.
    await asyncio.gather(*(client.greeted for client in running))
    print("all are there", flush=True)
    ends_at = time.perf_counter() + seconds
    for client in running:
        client.start(ends_at)
    await asyncio.gather(*(client.done for client in running))
    waits = sorted(wait for client in running for wait in client.waits)
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
    url, clients, in_flight, size, seconds, *more = sys.argv[1:]
    rate = float(more[0]) if more else 0.0
    uvloop.run(main(url, int(clients), int(in_flight), int(size), float(seconds), rate))
