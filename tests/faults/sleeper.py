"""A program that reads from the relay and comes back with its cursor: run by a fault test.

    python sleeper.py URL

Prints each notification's number, `greeted RECOVERED`, and `closed CODE`.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
from yarl import URL


async def read(url: str) -> None:
    query = {"client_id": "sleeper"}
    async with aiohttp.ClientSession() as http:
        while True:
            target = URL(url).with_query(query)
            async with http.ws_connect(target, protocols=("megabot.relay.v1",)) as socket:
                async for arrived in socket:
                    message = json.loads(arrived.data)
                    corner = message.get("metadata", {}).get("megabot", {})
                    query["cursor"] = corner.get("cursor", query.get("cursor"))
                    if message["type"] == "connection_established":
                        query["session_id"] = message["payload"]["session_id"]
                        print("greeted", corner.get("recovered"), flush=True)
                    elif message["type"] == "notification":
                        print(message["payload"]["n"], flush=True)
            print("closed", socket.close_code, flush=True)


if __name__ == "__main__":
    asyncio.run(read(sys.argv[1]))
