"""Our relay as the benchmark runs it: the real one, its rate limit off, ready line on stdout."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
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
from megabot_cli.relay.identity import Served
from megabot_cli.relay.server import Relay
from megabot_cli.storage.recorder import Recorder
from megabot_cli.telemetry.logs import configure_logging


async def main(
    upstream_url: str, mode: str, *, recording: bool, validation: str, apart: bool
) -> None:
    configure_logging(level="error")
    endpoint = parse_endpoint(upstream_url)

    def open_tokens(http: aiohttp.ClientSession) -> TokenSource:
        return TokenSource(http, endpoint, credential=None)

    with tempfile.TemporaryDirectory() as folder:
        recorder = None
        if recording:
            settings = RecordingSettings()
            recorder = Recorder(
                Path(folder), settings, tool="bench", upstream=endpoint.origin, apart=apart
            )
        relay = Relay(
            RelaySettings(
                listen="127.0.0.1:0",
                admin_listen="127.0.0.1:0",
                mode=mode,  # type: ignore[arg-type]
                max_clients=20_000,
                max_clients_per_session=20_000,
                validation=validation,  # type: ignore[arg-type]
            ),
            LimitSettings(messages_per_second=0),
            served=[Served("bench", ProfileSettings(url=upstream_url), open_tokens)],
            client_token="bench",
            version="bench",
            recorder=recorder,
        )
        await relay.start()
        told_to_stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_stop.set)
        gc.freeze()  # as `megabot relay` does before it says so
        print(json.dumps({"url": relay.url}), flush=True)
        await told_to_stop.wait()
        await relay.stop()


if __name__ == "__main__":
    _, upstream, mode, validation, *rest = sys.argv
    recording, apart = "--record" in rest, "--thread" not in rest
    uvloop.run(main(upstream, mode, recording=recording, validation=validation, apart=apart))
