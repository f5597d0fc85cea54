"""A loop of aiohttp's `send_str`, as anybody would write it: what a quick replay is held against.

A process of its own, in which nothing of ours reads or writes in aiohttp's place.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp
import uvloop

from megabot_cli.protocol.envelope import peek

_TEXT = "the quick brown fox jumps over a lazy dog while nobody looks at all of them. " * 2


def message(n: int) -> str:
    envelope = {
        "id": f"msg_{n:012}",
        "type": "chat_send",
        "payload": {"content": _TEXT},
        "timestamp": 1640995200,
    }
    return json.dumps(envelope)


async def send_str(url: str, messages: int, *, looks: bool = False) -> float:
    """CPU seconds of a loop that sends as many, and reads what comes.

    `looks`: the least that a replay must do as well: give each message an id of its own, and see
    which one an answer is for.
    """
    # The upstream answers no close: aiohttp would wait ten seconds for it.
    soon = aiohttp.ClientWSTimeout(ws_close=0.1)
    async with aiohttp.ClientSession() as http, http.ws_connect(url, timeout=soon) as socket:
        await socket.receive()
        waiting: dict[str, float] = {}

        async def read() -> None:
            for _ in range(messages):
                came = await socket.receive()
                if looks:
                    head = peek(came.data)
                    assert head is not None
                    assert waiting.pop(str(head.id)) > 0

        texts = [message(number) for number in range(messages)]
        began = time.process_time()
        reading = asyncio.get_running_loop().create_task(read(), name="read")
        for number, text in enumerate(texts):
            if looks:
                name = f"msg_again_{number}"
                waiting[name] = time.monotonic()
                await socket.send_str(text.replace(f"msg_{number:012}", name, 1))
            else:
                await socket.send_str(text)
        await reading
        return time.process_time() - began


def main() -> None:
    """URL MESSAGES: prints the CPU seconds of both loops."""
    url, messages = sys.argv[1], int(sys.argv[2])
    took = [uvloop.run(send_str(url, messages, looks=looks)) for looks in (False, True)]
    print(json.dumps(took))


if __name__ == "__main__":
    main()
