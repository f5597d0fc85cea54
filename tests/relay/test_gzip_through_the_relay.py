"""gzip messages pass the relay byte for byte, and are recorded as redacted text."""

from __future__ import annotations

import gzip
import json

import aiohttp

from megabot_cli.gateway.server import Gateway
from megabot_cli.recording.unpacking import NOTE
from megabot_cli.storage.segment_reader import open_recording
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
