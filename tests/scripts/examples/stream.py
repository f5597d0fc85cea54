"""Print an answer as it comes."""

from __future__ import annotations

import asyncio
import os

from megabot_cli.client import MegaBotClient

URL, KEY = os.environ["MEGABOT_URL"], os.environ["MEGABOT_API_KEY"]


async def main() -> None:
    async with MegaBotClient(URL, api_key=KEY) as client:
        await client.ask("Tell me more.", on_chunk=lambda piece: print(piece, end="", flush=True))
        print()


asyncio.run(main())
