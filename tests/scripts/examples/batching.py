"""Many small messages in few: up to ten, or what came within a tenth of a second."""

from __future__ import annotations

import asyncio
import os

from megabot_cli.client import MegaBotClient

URL, KEY = os.environ["MEGABOT_URL"], os.environ["MEGABOT_API_KEY"]


async def main() -> None:
    async with MegaBotClient(URL, api_key=KEY, batching=True) as client:
        questions = [f"How much is {number} and {number}?" for number in range(5)]
        answers = await asyncio.gather(*map(client.ask, questions))
        for question, answer in zip(questions, answers, strict=True):
            print(f"{question} {len(answer.text)} characters")


asyncio.run(main())
