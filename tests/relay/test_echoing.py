"""With `relay.echo` the clients of a session see what their fellows send."""

from __future__ import annotations

import gzip
import json
from typing import Any

from megabot_cli.gateway.server import Gateway
from tests.relay.conftest import Peer, Stage, enveloped, hears_nothing
from tests.support.upstream import ScriptedUpstream

MARKED = ("megabot.relay.v1",)


def call(message_id: str) -> dict[str, Any]:
    return enveloped("tool_call", message_id, tool_name="x", execution_id=message_id, parameters={})


async def test_fellows_see_what_one_sends_and_the_sender_does_not(stage: Stage) -> None:
    async with ScriptedUpstream() as upstream:
        relay = await stage.open_relay(upstream.url, echo=True)
        sender, session = await stage.greeted(relay.url)
        fellow, _ = await stage.greeted(relay.url, session)
        text = json.dumps(enveloped("notification", "n1", title="x"), indent=1)
        await sender.socket.send_str(text)
        assert await fellow.text() == text
        packed = gzip.compress(text.encode())
        await sender.socket.send_bytes(packed)
        assert await fellow.socket.receive_bytes(timeout=5) == packed
        assert await hears_nothing(sender, 0.05)


async def test_gzip_that_named_our_corner_is_shown_as_gzip_without_it(stage: Stage) -> None:
    async with ScriptedUpstream() as upstream:
        relay = await stage.open_relay(upstream.url, echo=True)
        sender, session = await stage.greeted(relay.url)
        fellow, _ = await stage.greeted(relay.url, session)
        message = enveloped("notification", "n1", title="x")
        metadata = {"metadata": {"megabot": {"cursor": "mine"}, "kept": 1}}
        await sender.socket.send_bytes(gzip.compress(json.dumps(message | metadata).encode()))
        seen = json.loads(gzip.decompress(await fellow.socket.receive_bytes(timeout=5)))
        assert seen == message | {"metadata": {"kept": 1}}


async def shown(peer: Peer) -> dict[str, Any]:
    message = await peer.message("tool_call")
    assert message["metadata"]["megabot"] == {"read_only": True}
    return message


async def test_a_call_for_the_upstream_is_shown_as_one_to_look_at(stage: Stage) -> None:
    async with ScriptedUpstream() as upstream:
        relay = await stage.open_relay(upstream.url, echo=True)
        sender, session = await stage.greeted(relay.url)
        executor, _ = await stage.greeted(relay.url, session, role="executor")
        watcher = await stage.connect(relay.url, session, protocols=MARKED)
        await watcher.message("connection_established")
        await sender.socket.send_str(json.dumps(call("c1")))
        assert (await shown(watcher))["id"] == "c1"
        await sender.socket.send_bytes(gzip.compress(json.dumps(call("c2")).encode()))
        assert (await shown(watcher))["id"] == "c2"
        note = enveloped("notification", "n1", title="x")
        await sender.send("batch", "b1", messages=[call("c3"), note])
        assert (await shown(watcher))["id"] == "c3"
        assert await watcher.message() == note
        assert await executor.message() == note
        assert await hears_nothing(executor, 0.05)


async def test_nothing_is_shown_before_the_greeting(stage: Stage, gateway: Gateway) -> None:
    port = gateway.port
    await gateway.stop()
    relay = await stage.open_relay(f"ws://127.0.0.1:{port}/ws", echo=True)
    sender, fellow = await stage.connect(relay.url, "s"), await stage.connect(relay.url, "s")
    await sender.send("notification", "n1", title="early")
    assert await hears_nothing(fellow, 0.1)
    again = await stage.open_gateway(port)
    assert (await fellow.message(limit_s=10))["type"] == "connection_established"
    assert (await sender.message(limit_s=10))["type"] == "connection_established"
    await sender.send("notification", "n2", title="late")
    assert (await fellow.message())["id"] == "n2"
    await again.stop()
