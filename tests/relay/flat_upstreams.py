"""Flat upstreams of the tests of a relay, and clients that talk to them through it."""

from __future__ import annotations

from typing import Any

from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.flat import GREETING, FlatGateway
from megabot_cli.recording.record import Record
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Peer, Stage

TOKEN = "a-static-token"


async def open_upstream(port: int = 0, *, latency_s: float = 0) -> FlatGateway:
    gateway = FlatGateway(
        GatewaySettings(listen=f"127.0.0.1:{port}", latency_s=latency_s, chunk_delay_s=0),
        LimitSettings(messages_per_second=0),
        token=TOKEN,
    )
    await gateway.start()
    return gateway


async def open_relay(stage: Stage, upstream: FlatGateway, **more: Any) -> Any:
    return await stage.open_relay(
        upstream.url, secret=TOKEN, dialect="flat", **{"validation": "warn", **more}
    )


async def greeted(stage: Stage, url: str) -> Peer:
    peer = await stage.connect(url)
    greeting = await peer.message()
    assert (greeting["type"], greeting["content"]) == ("message", GREETING)
    return peer


async def said(peer: Peer, text: str) -> dict[str, Any]:
    await peer.socket.send_str(text)
    return await peer.message()


def recorded(stage: Stage) -> list[Record]:
    folder = next((stage.folder / "recordings").iterdir())
    with open_recording(folder) as reader:
        return list(reader)
