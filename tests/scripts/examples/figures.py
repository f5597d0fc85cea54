"""What has passed, and the last messages of it, without secrets."""

from __future__ import annotations

import asyncio
import os

from megabot_cli.client import MegaBotClient

URL, KEY = os.environ["MEGABOT_URL"], os.environ["MEGABOT_API_KEY"]


async def main() -> None:
    async with MegaBotClient(URL, api_key=KEY, log_messages=100) as client:
        await client.ask("Count with me.")
        figures = client.metrics()
        print(f"{figures.messages_sent} sent, {figures.messages_received} received")
        for message in client.message_log[-1:]:
            print(message.direction, message.text[:60])


asyncio.run(main())
