"""What a real relay recorded answers in the real upstream's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megabot_cli.config.schema import GatewaySettings, LimitSettings
from megabot_cli.gateway.recorded_answers import RecordedAnswers
from megabot_cli.gateway.server import Gateway
from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.pace import Pacing
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.player import play
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.served_recording import open_exchanges
from tests.relay.conftest import Peer, Stage, open_stage
from tests.replay.conftest import Endpoint

Said = list[tuple[str, Any]]


async def talk(stage: Stage, url: str) -> Said:
    """What a program hears: three questions, a tool, a workspace and a mistake."""
    first, session = await stage.greeted(url)
    second, _ = await stage.greeted(url)
    third, _ = await stage.greeted(url, session)
    heard = [
        *await asked(first, "chat_send", "m1", "chat_receive", content="good morning"),
        *await asked(second, "chat_send", "m2", "chat_receive", content="good evening"),
        *await asked(third, "chat_send", "m3", "chat_receive", content="good morning"),
        *await asked(
            second,
            "tool_call",
            "m4",
            "tool_result",
            tool_name="random",
            execution_id="e1",
            parameters={},
        ),
        *await asked(first, "no_such_type", "m5", "connection_error", one=1),
    ]
    for peer in (first, second, third):
        await peer.socket.close()
    return heard


async def asked(peer: Peer, kind: str, message_id: str, until: str, **payload: object) -> Said:
    """What came until the last word on a message, each without names and times."""
    await peer.send(kind, message_id, **payload)
    heard: Said = []
    while True:
        message = await peer.message(limit_s=10)
        payload_now = message["payload"]
        for varying in ("timestamp", "stream_id", "message_id"):
            payload_now.pop(varying, None)
        if message.get("metadata", {}).get("reply_to") == message_id:
            heard.append((message["type"], payload_now))
            if message["type"] == until:
                return heard


@pytest.mark.parametrize("pace", [Pacing(pace="fast"), Pacing(pace="original", speed=4)])
async def test_the_same_program_hears_the_same_and_a_replay_finds_no_difference(
    tmp_path: Path, pace: Pacing
) -> None:
    async with open_stage(tmp_path) as stage:
        real = await stage.open_gateway()
        relay = await stage.open_relay(real.url, record=True)
        heard = await talk(stage, relay.url)
        await relay.stop()
        await real.stop()
        (folder,) = (tmp_path / "recordings").iterdir()

        likeness = Likeness()
        served = open_exchanges(folder, likeness)
        assert served.clean
        answers = RecordedAnswers(served, likeness, pacing=pace)
        gateway = Gateway(
            GatewaySettings(listen="127.0.0.1:0"),
            LimitSettings(messages_per_second=0),
            stage.users,
            keys=stage.keys,
            recorded=answers,
        )
        await gateway.start()
        try:
            relay = await stage.open_relay(gateway.url)
            assert await talk(stage, relay.url) == heard
            await relay.stop()
            endpoint = Endpoint(gateway.url, stage.api_key)
            with open_recording(folder) as reader:
                options = ReplayOptions(pace="fast", expect="exact", allow_tools=True)
                report = await play(reader, options, endpoint.new_client)
        finally:
            await gateway.stop()
            served.payloads.close()
    assert (report.same, report.sent) == (5, 5), report.lines()
    assert report.passed
    assert (answers.tally.matched, answers.tally.missed) == (10, 0)
