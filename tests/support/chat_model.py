"""A small server of OpenAI's chat completions, streamed; it plays what a test hands it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

DONE = b"data: [DONE]\n\n"


def delta(text: str) -> bytes:
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }
    return f"data: {json.dumps(event)}\n\n".encode()


async def _until_hung_up(request: web.Request) -> None:
    # aiohttp tells nobody who does not read or write.
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


class ChatModel:
    """`writes` are sent one by one, each in a write of its own; `status` other than 200 refuses.

    `requests` holds (headers, body) of all that came. With `hang` it falls silent at the end;
    with `cut` it ends the connection in the middle of the body. `left` is set when whoever asked
    hung up while it was silent.
    """

    def __init__(self) -> None:
        self.writes: Sequence[bytes] = (delta("Good"), delta(" day"), DONE)
        self.status = 200
        self.hang = False
        self.cut = False
        self.url = ""
        self.left = asyncio.Event()
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((dict(request.headers), await request.json()))
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for data in self.writes:
            await response.write(data)
            await asyncio.sleep(0)
        if self.cut:
            assert request.transport is not None
            request.transport.abort()
        if self.hang:
            await _until_hung_up(request)
            self.left.set()
        return response


@asynccontextmanager
async def running_model() -> AsyncIterator[ChatModel]:
    model = ChatModel()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        model.url = f"http://{host}:{port}/v1"
        yield model
    finally:
        await runner.cleanup()
