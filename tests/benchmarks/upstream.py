"""The upstream of the benchmarks: greets, then answers every message. Its own process."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs

import uvloop

from tests.benchmarks.lean_websocket import LeanSocket, frame


class Upstream(LeanSocket):
    def opened(self) -> None:
        asked = parse_qs(self.query).get("session_id")
        greeting = {
            "id": "msg_greeting",
            "type": "connection_established",
            "payload": {
                "session_id": asked[0] if asked else f"sess_{id(self):x}",
                "user_id": "user_bench",
                "capabilities": [],
            },
            "timestamp": 0,
        }
        self.transport.write(frame(json.dumps(greeting).encode(), masked=False))

    def arrived(self, messages: list[bytes]) -> None:
        self.transport.write(
            b"".join(
                frame(message.replace(b'"chat_send"', b'"chat_receive"', 1), masked=False)
                for message in messages
            )
        )


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"ws://127.0.0.1:{port}/ws"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
