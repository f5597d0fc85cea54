"""Recordings of the flat dialect, played to a gateway of that dialect."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.assistants.interface import Assistant, Turn
from megabot_cli.gateway.flat import FlatGateway
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.player import play
from megabot_cli.replay.report import ReplayReport
from megabot_cli.storage.recording_reader import open_recording
from tests.relay.conftest import Peer, open_stage
from tests.replay.conftest import Endpoint, Upstream, write_recording
from tests.replay.records import FAST, came, replay, sent

TOKEN = "a-static-token"


class Stubborn:
    """Has the same words for everything."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        yield "no"


class Slow(Stubborn):
    """Takes its time."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        await asyncio.sleep(0.3)
        async for each in Stubborn().answer(text, history):
            yield each


async def open_gateway(assistant: Assistant | None = None) -> FlatGateway:
    gateway = FlatGateway(
        GatewaySettings(listen="127.0.0.1:0", latency_s=0, chunk_delay_s=0),
        LimitSettings(messages_per_second=0),
        token=TOKEN,
        assistant=assistant,
    )
    await gateway.start()
    return gateway


async def record_a_talk(folder: Path) -> None:
    """Two clients on one link and one on another: words, a mode, a command, a refusal."""
    async with open_stage(folder) as stage:
        gateway = await open_gateway()
        relay = await stage.open_relay(gateway.url, secret=TOKEN, dialect="flat", record=True)
        ann, ben = [await stage.connect(relay.url, "shared") for _ in range(2)]
        carl = await stage.connect(relay.url)
        for peer in (ann, ben, carl):
            await peer.message("message")
        await ask(ann, '{"type":"message","content":"from ann"}', "from ann")
        await ask(ben, '{"type": "message", "content": "from ben"}', "from ben")
        await ask(carl, '{"type":"set_mode","mode":"build"}', "mode_updated")
        await ask(ann, '{"type":"command","command":"ls"}', "queued for approval")
        await ask(carl, "plain words", "Error 400")
        await relay.stop()
        await gateway.stop()


async def ask(peer: Peer, text: str, answer: str) -> None:
    """Send, and read on to what holds the answer."""
    await peer.socket.send_str(text)
    async with asyncio.timeout(10):
        while answer not in await peer.text():
            continue


async def replayed(folder: Path, gateway: FlatGateway) -> ReplayReport:
    def new_client(name: str, session_id: str | None) -> MegaBotClient:
        return MegaBotClient(
            gateway.url,
            api_key=TOKEN,
            send_in="query",
            dialect="flat",
            session_id=session_id,
            validate=False,
            messages_per_second=0,
            reconnect=None,
        )

    (recording,) = (folder / "recordings").iterdir()
    with open_recording(recording) as reader:
        return await play(reader, ReplayOptions(pace="fast", expect="exact"), new_client)


async def test_a_flat_talk_replays_with_the_same_answers(tmp_path: Path) -> None:
    await record_a_talk(tmp_path)
    gateway = await open_gateway()
    report = await replayed(tmp_path, gateway)
    await gateway.stop()
    assert report.passed, report.lines()
    assert (report.sent, report.clients, report.same) == (5, 3, 5)


async def test_a_flat_answer_is_known_by_its_type_also_where_what_is_asked_has_an_id(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    said, mode = '{"type":"message","content":"yes"}', '{"type":"mode_updated","mode":"build"}'
    heard.answer = lambda _text: [mode, said] if len(heard.heard) == 2 else []
    records = [
        sent(1, '{"id":"a1","type":"message","content":"well?"}'),
        sent(2, '{"id":"a2","type":"set_mode","mode":"build"}'),
        came(3, said),
        came(4, mode),
    ]
    path = write_recording(tmp_path / "talk.jsonl", records)
    report = await replay(path, endpoint.new_client, FAST)
    assert (report.same, report.different) == (2, 0), report.lines()


async def test_an_assistant_that_says_something_else_is_noticed(tmp_path: Path) -> None:
    await record_a_talk(tmp_path)
    gateway = await open_gateway(Stubborn())
    report = await replayed(tmp_path, gateway)
    await gateway.stop()
    assert not report.passed
    assert (report.same, report.same_shape) == (3, 2)
    assert json.loads(report.differences[0].replayed)["content"] == "no"


async def test_what_had_no_answer_when_the_link_was_let_go_is_not_compared(tmp_path: Path) -> None:
    """The relay holds back the requests of two that do not wait for their answers, and is stopped
    before they have left."""
    gateway = await open_gateway(Stubborn())
    async with open_stage(tmp_path) as stage:
        slow = await open_gateway(Slow())
        relay = await stage.open_relay(
            slow.url, secret=TOKEN, dialect="flat", mode="shared", record=True, drain_s=0
        )
        peers = [await stage.connect(relay.url) for _ in range(3)]
        for peer in peers:
            await peer.message("message")
            await peer.socket.send_str('{"type":"message","content":"hi"}')
        for peer in peers[1:]:
            await peer.socket.close()
        await peers[0].message("message")
        await relay.stop()
        await slow.stop()
    report = await replayed(tmp_path, gateway)
    await gateway.stop()
    assert report.passed, report.lines()
    assert (report.sent, report.extra, report.uncompared) == (3, 0, 2)


def test_approvals_are_held_back_as_tools_are(tmp_path: Path) -> None:
    approval = '{"type":"approve_action","action_id":"a1"}'
    records = [sent(1, '{"type":"message","content":"hi"}'), sent(2, approval)]
    path = write_recording(tmp_path / "x.jsonl", records)

    def types(*, allow_tools: bool) -> list[str | None]:
        with open_recording(path) as reader:
            conversation = read_conversation(reader, ReplayOptions(allow_tools=allow_tools))
        return [each.type for each in conversation.to_send()]

    assert types(allow_tools=False) == ["message"]
    assert types(allow_tools=True) == ["message", "approve_action"]


async def test_what_many_asked_at_once_over_one_link_replays_with_the_same_answers(
    tmp_path: Path,
) -> None:
    gateway = await open_gateway()
    async with open_stage(tmp_path) as stage:
        relay = await stage.open_relay(
            gateway.url, secret=TOKEN, dialect="flat", mode="shared", record=True
        )
        peers = [await stage.connect(relay.url) for _ in range(3)]
        for peer in peers:
            await peer.message("message")
        for name, peer in zip("abc", peers, strict=True):
            for number in range(3):
                await peer.socket.send_str(f'{{"type":"message","content":"{name} {number}"}}')
        for peer in peers:
            for _ in range(3):
                await peer.message("message")
        await relay.stop()
    (recording,) = (tmp_path / "recordings").iterdir()
    with open_recording(recording) as reader:
        passed = [record for record in reader if record.kind == "message"]
    asked = [record for record in passed if record.direction == "to_upstream"]
    answers = [record for record in passed if record.direction == "to_client"][1:]
    assert [each.client for each in answers] == [each.client for each in asked]
    report = await replayed(tmp_path, gateway)
    await gateway.stop()
    assert report.passed, report.lines()
    assert (report.sent, report.clients, report.same) == (9, 3, 9)
