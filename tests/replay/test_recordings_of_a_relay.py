"""What a real relay recorded, replayed against a real gateway."""

from __future__ import annotations

from pathlib import Path

from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.player import play
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.verification import verify
from tests.relay.conftest import Peer, open_stage, until
from tests.replay.conftest import Endpoint


async def until_answered(peer: Peer, message_id: str) -> None:
    reply_to = None
    while reply_to != message_id:
        reply_to = (await peer.message("chat_receive", 10))["metadata"]["reply_to"]


async def test_a_talk_through_a_restart_of_the_upstream_replays_with_the_same_answers(
    tmp_path: Path,
) -> None:
    async with open_stage(tmp_path) as stage:
        gateway = await stage.open_gateway()
        relay = await stage.open_relay(gateway.url, record=True)
        first, session = await stage.greeted(relay.url)
        second, _ = await stage.greeted(relay.url, session)
        await first.send("chat_send", "m1", content="good morning to you")
        await until_answered(first, "m1")
        await gateway.stop()
        gateway = await stage.open_gateway(port=gateway.port)
        await second.send("chat_send", "m2", content="and my token is Bearer abc.def")
        await until_answered(second, "m2")
        await first.send("chat_send", "m3", content="what is left of it")
        await until_answered(first, "m3")
        await relay.stop()

        (folder,) = (tmp_path / "recordings").iterdir()
        found = verify(folder, secrets=True)
        assert found.clean, found.problems
        assert found.secrets_found == 0
        endpoint = Endpoint(gateway.url, stage.api_key)
        with open_recording(folder) as reader:
            options = ReplayOptions(pace="fast", expect="exact")
            report = await play(reader, options, endpoint.new_client)
        await gateway.stop()
    assert report.passed, report.lines()
    assert (report.sent, report.clients) == (3, 2)
    # The echo of a secret cannot be the same: the recording does not tell it.
    assert (report.same, report.same_shape) == (2, 1)
    assert report.differences[0].type == "chat_send"


def written(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


async def test_an_answer_under_way_when_the_relay_let_its_link_go_is_not_compared(
    tmp_path: Path,
) -> None:
    async with open_stage(tmp_path) as stage:
        gateway = await stage.open_gateway(latency_s=0.5)
        relay = await stage.open_relay(gateway.url, record=True, linger_s=0.1)
        first, _ = await stage.greeted(relay.url)
        await first.send("chat_send", "m1", content="good morning to you")
        await until_answered(first, "m1")
        await first.send("chat_send", "m2", content="never mind")
        (folder,) = (tmp_path / "recordings").iterdir()
        await until(lambda: b"never mind" in written(folder))
        await first.socket.close()
        await until(lambda: b"the relay lets go" in written(folder))
        await relay.stop()
        await gateway.stop()
        gateway = await stage.open_gateway()

        with open_recording(folder) as reader:
            options = ReplayOptions(pace="fast", expect="exact")
            endpoint = Endpoint(gateway.url, stage.api_key)
            report = await play(reader, options, endpoint.new_client)
        await gateway.stop()
    assert report.passed, report.lines()
    assert (report.sent, report.same, report.uncompared) == (2, 1, 1)
