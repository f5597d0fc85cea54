"""The specification's Python client, `extra_headers` renamed as the library renamed it."""

from __future__ import annotations

import websockets


class MegaBotWebSocketClient:
    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token = token

    async def connect(self) -> None:
        headers = {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"

        async with websockets.connect(self.url, additional_headers=headers) as ws:
            await self.handle_connection(ws)

    async def handle_connection(self, ws: websockets.ClientConnection) -> None:
        # Connection handling logic
        pass
