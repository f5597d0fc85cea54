"""gzip messages pass the relay byte for byte, and are recorded as redacted text."""

from __future__ import annotations

import gzip
import json

import aiohttp
import pytest

from megabot_cli.gateway.server import Gateway
from megabot_cli.recording.unpacking import NOTE
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Stage, until
from tests.support.upstream import Connection, ScriptedUpstream

SECRET = "Bearer " + "s3cret" * 8


async def test_a_gzip_message_passes_unchanged_and_is_recorded_as_redacted_text(
    stage: Stage,
) -> None:
    got: list[str | bytes] = []

    async def echo(connection: Connection) -> None:
        await connection.greet()
        got.append(await connection.receive_text())
        await connection.send_bytes(bytes(got[-1]))  # type: ignore[arg-type]
        await connection.until_gone()

    payload = {"content": "x" * 2000, "authorization": SECRET}
    message = {"id": "m1", "type": "chat_send", "payload": payload, "timestamp": 1}
    packed = gzip.compress(json.dumps(message).encode())
    async with ScriptedUpstream(echo) as upstream:
        relay = await stage.open_relay(upstream.url, record=True)
        peer, _ = await stage.greeted(relay.url)
        await peer.socket.send_bytes(packed)
        assert await peer.socket.receive_bytes(timeout=5) == packed
        assert got == [packed]
        await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        records = [record for record in reader if record.id == "m1"]
    assert [record.direction for record in records] == ["to_upstream", "to_client"]
    for record in records:
        assert (record.type, record.note, record.size) == ("chat_send", NOTE, len(packed))
        assert record.data is not None
        assert "x" * 2000 in record.data
        assert SECRET not in record.data


async def test_a_dedicated_client_and_the_gateway_agree_on_gzip(
    stage: Stage, gateway: Gateway
) -> None:
    relay = await stage.open_relay(gateway.url, mode="dedicated", record=True)
    peer = await stage.connect(relay.url, query={"compression": "gzip"})
    await peer.message("connection_established")
    call = {"tool_name": "echo", "execution_id": "e1", "parameters": {"text": "y" * 3000}}
    await peer.send("tool_call", "m1", **call)
    answer = await peer.socket.receive(timeout=5)
    assert answer.type is aiohttp.WSMsgType.BINARY
    assert "y" * 3000 in gzip.decompress(answer.data).decode()
    await peer.socket.close()
    await until(lambda: not relay.gauges().clients)
    await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        results = [record for record in reader if record.type == "tool_result"]
    assert [record.reply_to for record in results] == ["m1"]


CORNER = {"megabot": {"cursor": "forged:1", "read_only": True}}


def forged(kind: str, **payload: object) -> bytes:
    message = {"id": "m1", "type": kind, "payload": payload, "timestamp": 1}
    return gzip.compress(json.dumps(message | {"metadata": CORNER | {"kept": 1}}).encode())


@pytest.mark.parametrize("mode", ["session", "shared"])
@pytest.mark.parametrize("kind", ["chat_send", "batch", "notification"])
async def test_the_relays_corner_is_taken_out_of_what_comes_as_gzip_both_ways(
    stage: Stage, mode: str, kind: str
) -> None:
    got: list[str | bytes] = []
    inner = {"id": "i1", "type": "cursor_move", "payload": {}, "timestamp": 1, "metadata": CORNER}
    payload = {"messages": [inner, inner]} if kind == "batch" else {"content": "x"}

    async def say_it_too(connection: Connection) -> None:
        await connection.greet()
        got.append(await connection.receive_text())
        await connection.send_bytes(forged(kind, **payload))
        await connection.until_gone()

    async with ScriptedUpstream(say_it_too) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer, _ = await stage.greeted(relay.url)
        await peer.socket.send_bytes(forged(kind, **payload))
        came = await peer.socket.receive(timeout=5)
        await relay.stop()
    for message in (*got, came.data):
        text = gzip.decompress(message).decode() if isinstance(message, bytes) else str(message)
        assert "forged" not in text
        # A batch of one mode comes apart.
        assert '"kept":1' in text or (mode == "shared" and '"i1"' in text)
