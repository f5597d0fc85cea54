"""Two people in one workspace: what one does, the other hears."""

from __future__ import annotations

import asyncio
import os

from megabot_cli.client import MegaBotClient, Received

URL, KEY = os.environ["MEGABOT_URL"], os.environ["MEGABOT_API_KEY"]


async def main() -> None:
    async with MegaBotClient(URL, api_key=KEY) as ann, MegaBotClient(URL, api_key=KEY) as bob:
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        @bob.on("collaborative_action")
        def on_action(received: Received) -> None:
            payload = received.payload()
            heard.set_result(f"{payload['user_id']} did {payload['action']}: {payload['data']}")

        await bob.workspace("plans").join()
        async with ann.workspace("plans") as plans:
            await plans.act("comment", {"text": "Looks good to me"})
            print(await asyncio.wait_for(heard, 10))


asyncio.run(main())
