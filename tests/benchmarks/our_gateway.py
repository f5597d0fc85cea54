"""Our gateway, answering with long made-up texts. Its own process.

`CHUNK_DELAY_S`; prints its URL with an API key in it.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.accounts import Users
from megabot_cli.gateway.keys import Keys
from megabot_cli.gateway.server import Gateway
from megabot_cli.telemetry.logs import configure_logging


async def main(chunk_delay_s: float) -> None:
    configure_logging(level="error")
    users = Users.in_memory(cost=2)
    users.add("bench", "bench")
    gateway = Gateway(
        GatewaySettings(
            listen="127.0.0.1:0",
            assistant="markov",
            latency_s=0.0,
            chunk_delay_s=chunk_delay_s,
        ),
        LimitSettings(messages_per_second=0),
        users,
        keys=Keys.in_memory(),
    )
    await gateway.start()
    url = f"{gateway.url}?token={users.add_api_key('bench')}"
    print(json.dumps({"url": url}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1])))
