"""What unfolds to more than a message may have is not read on, and does not pass unread."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import aiohttp
import pytest

from megabot_cli.config.schema import LimitSettings
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Peer, Stage, until
from tests.support.upstream import Connection, ScriptedUpstream

MIB = 1 << 20
SECRET = "Bearer " + "s3cret" * 8
GZIP = {"compression": "gzip"}


def folded(message_id: str, size: int, kind: str = "chat_send", **metadata: str) -> bytes:
    payload = {"authorization": SECRET, "content": "x" * size}
    message = {"id": message_id, "type": kind, "payload": payload, "timestamp": 1}
    return gzip.compress(json.dumps(message | {"metadata": metadata}).encode())


class Keeping:
    def __init__(self) -> None:
        self.got: list[str | bytes] = []

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        while True:
            self.got.append(await connection.receive_text())


async def joined(stage: Stage, url: str) -> Peer:
    peer = await stage.connect(url, query=GZIP)
    await peer.message("connection_established")
    return peer


@pytest.mark.parametrize("validation", ["off", "warn", "strict"])
@pytest.mark.parametrize("mode", ["session", "shared", "dedicated"])
async def test_up_it_is_answered_413_by_id_and_the_client_stays(
    stage: Stage, mode: str, validation: str
) -> None:
    script = Keeping()
    async with ScriptedUpstream(script) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode, validation=validation)
        peer = await joined(stage, relay.url)
        for size in (MIB, 50 * MIB):
            await peer.socket.send_bytes(folded("big", size))
            refusal = await peer.message("connection_error")
            assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (413, "big")
        small = gzip.compress(
            json.dumps(
                {"id": "s", "type": "chat_send", "payload": {"content": "x" * 9000}, "timestamp": 1}
            ).encode()
        )
        await peer.socket.send_bytes(small)
        await until(lambda: script.got)
        assert script.got == [small]
        assert relay.numbers.error_answers == {"message_too_large": 2}
        await peer.socket.close()
        await relay.stop()


async def test_an_id_that_does_not_come_first_is_not_looked_for(stage: Stage) -> None:
    async with ScriptedUpstream(Keeping()) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer = await joined(stage, relay.url)
        late = {"type": "chat_send", "payload": {"content": "x" * MIB}, "id": "late"}
        await peer.socket.send_bytes(gzip.compress(json.dumps(late).encode()))
        refusal = await peer.message("connection_error")
        assert refusal["payload"]["code"] == 413
        assert "reply_to" not in refusal["metadata"]


async def test_no_more_is_unfolded_than_may_be(stage: Stage) -> None:
    bomb = folded("bomb", 200 * MIB)
    async with ScriptedUpstream(Keeping()) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer = await joined(stage, relay.url)
        tracemalloc.start()
        try:
            await peer.socket.send_bytes(bomb)
            await peer.message("connection_error")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 8 * MIB


@pytest.mark.parametrize("mode", ["session", "shared", "dedicated"])
async def test_down_it_ends_the_upstreams_connection_with_1009(stage: Stage, mode: str) -> None:
    codes: list[int | None] = []

    async def bomb(connection: Connection) -> None:
        await connection.greet()
        if connection.query.get("compression") or mode != "dedicated":
            await connection.send_bytes(folded("n1", 2 * MIB, "notification"))
            await connection.send_bytes(folded("n2", 50 * MIB, "notification"))
            await connection.send_bytes(folded("n3", 10, "notification"))
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(bomb) as upstream:
        relay = await stage.open_relay(upstream.url, mode=mode)
        peer = await stage.connect(relay.url, query=GZIP)
        received = [await peer.socket.receive(timeout=5) for _ in range(3)]
        # In a session others have had the notification before this one came.
        binary = [each for each in received if each.type is aiohttp.WSMsgType.BINARY]
        assert all(b'"n1"' in gzip.decompress(each.data) for each in binary)
        await until(lambda: 1009 in codes)
        if mode == "dedicated":
            assert (received[2].type, received[2].data) == (aiohttp.WSMsgType.CLOSE, 1009)
        else:
            await until(lambda: relay.numbers.link_losses[1009])
        await relay.stop()


async def test_what_is_read_of_a_large_one_is_routed_to_its_asker(stage: Stage) -> None:
    async def answer(connection: Connection) -> None:
        await connection.greet()
        while True:
            asked = await connection.receive()
            await connection.send_bytes(folded("a1", 2 * MIB, "chat_receive", reply_to=asked["id"]))

    async with ScriptedUpstream(answer) as upstream:
        relay = await stage.open_relay(upstream.url, mode="shared")
        asker, other = await joined(stage, relay.url), await joined(stage, relay.url)
        await asker.send("chat_send", "m1", content="x")
        assert await asker.socket.receive_bytes(timeout=5)
        await other.send("chat_send", "m2", content="x")
        assert b'"m2"' in gzip.decompress(await other.socket.receive_bytes(timeout=5))


async def test_nobody_unfolds_what_a_pair_has_not_agreed_on(stage: Stage) -> None:
    async def echo(connection: Connection) -> None:
        while True:
            await connection.send_bytes(bytes(await connection.receive_text()))  # type: ignore[arg-type]

    file = gzip.compress(b"a file, and no message" * MIB)
    async with ScriptedUpstream(echo) as upstream:
        relay = await stage.open_relay(upstream.url, mode="dedicated")
        peer = await stage.connect(relay.url)
        await peer.socket.send_bytes(file)
        assert await peer.socket.receive_bytes(timeout=5) == file


async def test_a_recording_keeps_nothing_of_what_it_could_not_look_into(stage: Stage) -> None:
    async with ScriptedUpstream(Keeping()) as upstream:
        relay = await stage.open_relay(upstream.url, record=True)
        peer = await joined(stage, relay.url)
        bomb = folded("bomb", 20 * MIB)
        await peer.socket.send_bytes(bomb)
        await peer.message("connection_error")
        await relay.stop()
    assert relay.recorder is not None
    with open_recording(relay.recorder.folder) as reader:
        (record,) = [each for each in reader if each.size == len(bomb)]
    assert (record.data, record.data_b64) == (None, None)
    assert "longer than a recording keeps" in (record.note or "")


async def test_strict_validation_looks_into_gzip(stage: Stage) -> None:
    script = Keeping()
    async with ScriptedUpstream(script) as upstream:
        relay = await stage.open_relay(upstream.url, validation="strict")
        peer = await joined(stage, relay.url)
        await peer.socket.send_bytes(folded("bad", 20_000))
        refusal = await peer.message("connection_error")
        assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (400, "bad")
        assert "$.payload.content" in refusal["payload"]["message"]
        assert not script.got


async def test_without_validation_a_pair_keeps_the_limit_all_the_same(stage: Stage) -> None:
    async with ScriptedUpstream(Keeping()) as upstream:
        limits = LimitSettings(messages_per_second=0, max_message_bytes=1000)
        relay = await stage.open_relay(
            upstream.url, mode="dedicated", validation="off", limits=limits
        )
        peer = await joined(stage, relay.url)
        await peer.send("chat_send", "big", content="x" * 1000)
        refusal = await peer.message("connection_error")
        assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (413, "big")


async def test_it_ends_so_too_while_the_recorder_asks_for_patience(stage: Stage) -> None:
    codes: list[int | None] = []

    async def bomb(connection: Connection) -> None:
        await connection.greet()
        await connection.receive_text()
        for number in range(20):
            await connection.send("notification", {"title": str(number)})
        await connection.send_bytes(folded("n", 50 * MIB, "notification"))
        codes.append(await connection.until_gone())

    async with ScriptedUpstream(bomb) as upstream:
        relay = await stage.open_relay(upstream.url, record=True)
        peer = await joined(stage, relay.url)
        assert relay.recorder is not None
        relay.recorder.must_wait = True
        await peer.send("chat_send", "go", content="x")
        for number in range(20):
            assert (await peer.message("notification"))["payload"] == {"title": str(number)}
        await until(lambda: codes)
        assert codes == [1009]
        await relay.stop()
