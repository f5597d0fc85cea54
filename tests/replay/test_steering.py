"""A replay that is steered by keys and by a socket, and what it tells of its marks."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.errors import BadConfiguration
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.controls import Controls, control_socket
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.player import Replay
from megabot_cli.replay.transport import Transport
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, waiting_to_send, write_recording
from tests.replay.records import a_talk, answered, answering, asked, finish, replay_of


async def test_a_control_socket_steers_and_is_gone_afterwards(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    replay = replay_of(a_talk(tmp_path), endpoint, pace="step")
    path = tmp_path / "control"
    async with control_socket(path, Controls(replay.transport, replay.status)):
        assert path.stat().st_mode & 0o777 == 0o600
        work = asyncio.ensure_future(replay.play())
        reader, writer = await asyncio.open_unix_connection(path)

        async def ask(line: str) -> dict[str, Any]:
            writer.write(line.encode() + b"\n")
            answered_with: dict[str, Any] = json.loads(await reader.readline())
            return answered_with

        await waiting_to_send(replay)
        assert (await ask("step"))["paused"] is True
        await heard.until_heard(1)
        status = await ask("status")
        assert (status["sent"], status["to_send"], status["round"]) == (1, 3, 1)
        assert (await ask("speed 4"))["speed"] == 4
        for odd in ("quick", "nan", "inf", "-1", "1001", ""):
            said = (await ask(f"speed {odd}"))["error"]
            assert said == f"speed {odd!r} is no number from 0.1 to 1000"
        assert (await ask("jump"))["words"]
        await ask("quit")
        played = await finish(work)
        writer.close()
        with pytest.raises(BadConfiguration, match="Cannot listen"):
            async with control_socket(tmp_path / "no" / "such", Controls(replay.transport, dict)):
                pass
    assert (played.report.stopped, played.report.sent) == (True, 1)
    assert not path.exists()


async def test_a_control_socket_hangs_up_on_who_still_listens(tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: odd.append(context))
    path = tmp_path / "control"
    async with control_socket(path, Controls(Transport(), dict)):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"status\n")
        assert json.loads(await reader.readline())["ok"]
    assert await reader.read() == b""
    writer.close()
    assert not odd


async def test_who_writes_more_than_a_word_hears_why_it_is_hung_up_on(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with control_socket(path, Controls(Transport(), dict)):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * 5000 + b"\n")
        answer = json.loads(await reader.readline())
        assert (answer["ok"], "200 bytes" in answer["error"]) == (False, True)
        assert await reader.read() == b""
        writer.close()


async def test_two_replays_do_not_share_a_control_socket(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with control_socket(path, Controls(Transport(), dict)):
        with pytest.raises(BadConfiguration, match="in use"):
            async with control_socket(path, Controls(Transport(), dict)):
                pass
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"status\n")
        assert json.loads(await reader.readline())["ok"]
    writer.close()
    assert not path.exists()


async def test_keys_do_what_they_mean() -> None:
    transport = Transport()
    controls = Controls(transport, dict)
    paused = []
    for _ in range(2):
        controls.press(" ")
        paused.append(transport.paused)
    assert paused == [True, False]
    controls.press("+")
    controls.press("+")
    controls.press("-")
    controls.press("x")
    assert transport.speed == 2
    controls.press(".")
    assert transport.paused
    controls.press("q")
    assert transport.stopped


async def test_marks_are_told_as_they_pass(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    before, *rest = (
        Record(n=1, t=0, kind="mark", note="too early"),
        asked(2, 0, "one"), answered(3, 10, 2),
        Record(n=4, t=20_000, kind="mark", note="here it breaks"),
        asked(5, 40, "two"), answered(6, 50, 5),
        Record(n=7, t=60_000, kind="mark", note="over"),
    )  # fmt: skip
    path = write_recording(tmp_path / "marked.jsonl", [before, *rest])
    told: list[tuple[str, int]] = []
    options = ReplayOptions(pace="fast", selection=Selection(begin=Place("number", 2)))
    with open_recording(path) as reader:
        conversation = read_conversation(reader, options)
    replay = Replay(
        conversation,
        options,
        endpoint.new_client,
        on_mark=lambda mark: told.append((mark.text, len(heard.heard))),
    )
    await finish(asyncio.get_running_loop().create_task(replay.play(), name="replay"))
    assert [text for text, _ in told] == ["here it breaks", "over"]
    assert told[0][1] <= 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, ["first", "between", "last"]),
        ({"selection": Selection(until=Place("number", 7))}, ["first", "between"]),
        ({"limit": 1}, []),
        ({"selection": Selection(clients=("c1",))}, ["between"]),
        ({"selection": Selection(clients=("c2",))}, []),
    ],
    ids=["all", "bounds", "limit", "words", "other words"],
)
def test_marks_are_told_that_stand_among_what_was_chosen(
    tmp_path: Path, more: dict[str, Any], told: list[str]
) -> None:
    records = [
        Record(n=1, t=0, kind="mark", note="first"),
        asked(2, 0, "one"), answered(3, 10, 2),
        Record(n=4, t=20_000, kind="mark", note="between"),
        asked(5, 40, "two"),
        asked(6, 50, "another's", "c2"),
        Record(n=7, t=60_000, kind="mark", note="last"),
    ]  # fmt: skip
    path = write_recording(tmp_path / "marked.jsonl", records)
    with open_recording(path) as reader:
        conversation = read_conversation(reader, ReplayOptions(**more))
    assert [mark.text for mark in conversation.marks] == told
