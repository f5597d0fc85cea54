"""Ask a question and print the answer."""

from __future__ import annotations

import asyncio
import os

from megabot_cli.client import MegaBotClient

URL, KEY = os.environ["MEGABOT_URL"], os.environ["MEGABOT_API_KEY"]


async def main() -> None:
    async with MegaBotClient(URL, api_key=KEY) as client:
        answer = await client.ask("What is a relay?", timeout_s=30)
        print(answer.text)


asyncio.run(main())
