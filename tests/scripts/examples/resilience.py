"""Hear what becomes of the connection; come back by another schedule than the usual one."""

from __future__ import annotations

import asyncio
import os

from megabot_cli.client import ClientEvent, MegaBotClient
from megabot_cli.protocol.backoff import Linear

URL, KEY = os.environ["MEGABOT_URL"], os.environ["MEGABOT_API_KEY"]


def tell(event: ClientEvent) -> None:
    print(event.kind, event.detail or "")


async def main() -> None:
    schedule = Linear(first_s=1.0, attempts=5)
    async with MegaBotClient(URL, api_key=KEY, reconnect=schedule, on_event=tell) as client:
        await client.ask("Still there?")


asyncio.run(main())
