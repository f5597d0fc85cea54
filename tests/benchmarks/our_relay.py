"""Our relay as the benchmark runs it: the real one, its rate limit off, ready line on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import aiohttp
import uvloop

from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.config.schema import (
    LimitSettings,
    ProfileSettings,
    RecordingSettings,
    RelaySettings,
)
from megabot_cli.relay.server import Relay
from megabot_cli.storage.recorder import Recorder
from megabot_cli.telemetry.logs import configure_logging


async def main(upstream_url: str, *, recording: bool, validation: str) -> None:
    configure_logging(level="error")
    endpoint = parse_endpoint(upstream_url)

    def open_tokens(http: aiohttp.ClientSession) -> TokenSource:
        return TokenSource(http, endpoint, credential=None)

    with tempfile.TemporaryDirectory() as folder:
        recorder = None
        if recording:
            settings = RecordingSettings()
            recorder = Recorder(Path(folder), settings, tool="bench", upstream=endpoint.origin)
        relay = Relay(
            RelaySettings(
                listen="127.0.0.1:0",
                admin_listen="127.0.0.1:0",
                validation=validation,  # type: ignore[arg-type]
            ),
            LimitSettings(messages_per_second=0),
            profile_name="bench",
            profile=ProfileSettings(url=upstream_url),
            open_tokens=open_tokens,
            client_token="bench",
            version="bench",
            recorder=recorder,
        )
        await relay.start()
        print(json.dumps({"url": relay.url}), flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await relay.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], recording="--record" in sys.argv, validation=sys.argv[2]))
