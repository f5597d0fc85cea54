"""React to messages, and let MegaBot run a function of ours."""

from __future__ import annotations

import asyncio
import os

from megabot_cli.client import MegaBotClient, Received

URL, KEY = os.environ["MEGABOT_URL"], os.environ["MEGABOT_API_KEY"]


client = MegaBotClient(URL, api_key=KEY)


@client.on("chat_receive")
def said(received: Received) -> None:
    print("said:", received.payload()["content"])


@client.tool("weather")
async def weather(city: str) -> dict[str, str]:
    return {"city": city, "sky": "clear"}


async def main() -> None:
    async with client:
        await client.ask("Good morning!")


asyncio.run(main())
