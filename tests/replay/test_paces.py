"""Paces, rounds and context, against real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.errors import BadConfiguration
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.player import Replay
from megabot_cli.replay.varying import read_ignored, write_ignored
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, waiting_to_send, write_recording
from tests.replay.records import (
    a_talk,
    answered,
    answering,
    asked,
    finish,
    id_of,
    replay_of,
    said,
)
from tests.replay.texts import answer, message


async def test_fixed_sends_so_many_a_second(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    played = await replay_of(a_talk(tmp_path), endpoint, pace="fixed", per_s=20).play()
    assert played.report.duration_s >= 0.1
    assert played.report.passed
    assert played.figures.now["lateness_ms"].count == 3
    assert played.report.lateness.timed == 3
    assert any(line.startswith("lateness ") for line in played.report.lines())


@pytest.mark.parametrize("pace", ["fast", "reply"])
async def test_where_time_decides_nothing_no_lateness_is_told(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Pace
) -> None:
    heard, endpoint = upstream
    answering(heard)
    played = await replay_of(a_talk(tmp_path), endpoint, pace=pace).play()
    assert (played.report.sent, played.report.lateness.timed) == (3, 0)
    assert not any(line.startswith("lateness ") for line in played.report.lines())


async def test_reply_waits_for_the_answer_and_the_pause_after_it(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    order: list[str] = []

    def slow(text: str | bytes) -> list[str]:
        order.append(json.loads(text)["payload"]["content"])
        return [answer("yes", reply_to=id_of(text))]

    heard.answer = slow
    played = await replay_of(a_talk(tmp_path), endpoint, pace="reply").play()
    assert order == ["one", "two", "three"]
    assert played.report.same == 3
    assert played.report.duration_s >= 0.04  # 30 ms and 10 ms of thinking


async def test_reply_begins_each_client_when_it_began(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    records = [
        asked(1, 0, "one"), answered(2, 10, 1),
        asked(3, 15, "two"), answered(4, 20, 3),
        asked(5, 300, "another's", "c2"), answered(6, 310, 5, "c2"),
    ]  # fmt: skip
    path = write_recording(tmp_path / "talk.jsonl", records)
    played = await replay_of(path, endpoint, pace="reply").play()
    assert said(heard) == ["one", "two", "another's"]
    assert (played.report.same, played.report.duration_s >= 0.3) == (3, True)


async def test_step_sends_a_message_a_step(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    replay = replay_of(a_talk(tmp_path), endpoint, pace="step")
    work = asyncio.ensure_future(replay.play())
    for count in (1, 2, 3):
        await waiting_to_send(replay)
        await asyncio.sleep(0.05)
        assert len(heard.heard) == count - 1
        replay.transport.step()
        await heard.until_heard(count)
    assert (await finish(work)).report.same == 3


async def test_a_step_sends_a_message_also_while_its_client_thinks_or_waits_for_an_answer(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    records = [
        asked(1, 0, "one"), answered(2, 10, 1),
        asked(3, 60_000, "two"), answered(4, 60_010, 3),
        asked(5, 120_000, "three"), answered(6, 120_010, 5),
    ]  # fmt: skip
    path = write_recording(tmp_path / "slow.jsonl", records)
    replay = replay_of(path, endpoint, pace="reply")
    replay.transport.pause()
    playing = asyncio.ensure_future(replay.play())
    for count in (1, 2, 3):
        await asyncio.sleep(0.1)
        assert len(heard.heard) == count - 1
        replay.transport.step()
        await heard.until_heard(count)
    assert (await finish(playing)).report.same == 3


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_answer_that_was_under_way_when_it_was_stopped_is_not_compared(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, cancelled: bool
) -> None:
    heard, endpoint = upstream
    heard.answer = lambda text: [] if "two" in str(text) else [answer("yes", reply_to=id_of(text))]
    replay = replay_of(a_talk(tmp_path), endpoint, pace="reply")
    work = asyncio.ensure_future(replay.play())
    await heard.until_heard(2)
    if cancelled:
        work.cancel()
        await asyncio.wait([work])
    else:
        replay.transport.stop()
        await finish(work)
    report = replay.so_far().report
    assert (report.sent, report.same, report.missing, report.uncompared) == (2, 1, 0, 1)
    assert report.passed


async def test_each_round_has_sessions_and_ids_of_its_own(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    played = await replay_of(a_talk(tmp_path), endpoint, pace="fast").play(rounds=3)
    assert said(heard) == ["one", "two", "three"] * 3
    assert len({json.loads(text)["id"] for text in heard.heard}) == 9
    assert (played.report.rounds, played.report.sent, played.report.same) == (3, 9, 9)
    assert len(played.cases) == 9


async def test_rounds_without_end_take_no_more_memory_than_a_few(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    path = a_talk(tmp_path)
    asked_for = ReplayOptions(pace="fast")
    with open_recording(path) as reader:
        conversation = read_conversation(reader, asked_for)
    clients: weakref.WeakSet[MegaBotClient] = weakref.WeakSet()

    def new_client(name: str, session_id: str | None) -> MegaBotClient:
        made = endpoint.new_client(name, session_id)
        clients.add(made)
        return made

    replay = Replay(conversation, asked_for, new_client, with_cases=False)
    played = await replay.play(rounds=20)
    gc.collect()
    assert len(clients) <= 2
    assert (played.report.rounds, played.report.same, played.cases) == (20, 60, [])
    assert replay.so_far().report == played.report


async def test_a_round_under_way_counts_with_those_that_ended(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    replay = replay_of(a_talk(tmp_path), endpoint, pace="step")
    work = asyncio.ensure_future(replay.play(rounds=0))
    for count in range(1, 9):
        await waiting_to_send(replay)
        replay.transport.step()
        await heard.until_heard(count)
    work.cancel()
    await asyncio.wait([work])
    report = replay.so_far().report
    assert (report.rounds, report.sent) == (3, 8)
    assert replay.so_far().report.sent == 8


async def test_context_goes_first_and_is_not_compared(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    options: dict[str, Any] = {"pace": "fast", "selection": Selection(grep="three")}
    alone = await replay_of(a_talk(tmp_path), endpoint, **options).play()
    assert (said(heard), alone.report.sent, alone.report.context) == (["three"], 1, 0)
    heard.heard.clear()
    played = await replay_of(a_talk(tmp_path), endpoint, with_context=True, **options).play()
    assert said(heard) == ["one", "two", "three"]
    assert (played.report.sent, played.report.context, played.report.same) == (1, 2, 1)


@pytest.mark.parametrize(
    "chosen", [Selection(grep="three"), Selection(begin=Place("number", 5))], ids=["by words", "on"]
)
async def test_context_is_answered_before_the_first_message_chosen_leaves(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, chosen: Selection
) -> None:
    heard, endpoint = upstream
    options: dict[str, Any] = {"pace": "fast", "selection": chosen, "settle_s": 5}
    replay = replay_of(a_talk(tmp_path), endpoint, with_context=True, **options)
    replies_before = []

    def answer_and_look(text: str | bytes) -> list[str]:
        progress = replay.progress()
        assert progress is not None
        replies_before.append(progress.replies)
        return [answer("yes", reply_to=id_of(text))]

    heard.answer = answer_and_look
    assert (await replay.play()).report.passed
    assert replies_before == [0, 1, 2]  # an answer each; the greeting is none


async def test_what_is_ignored_makes_no_difference(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    heard.answer = lambda text: [answer("no", reply_to=id_of(text))]
    path = a_talk(tmp_path)
    assert (await replay_of(path, endpoint, pace="fast").play()).report.same_shape == 3
    ignoring = replay_of(path, endpoint, pace="fast", ignored=("payload.content",))
    assert (await ignoring.play()).report.same == 3


async def test_what_varies_from_run_to_run_is_told_and_can_be_ignored(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream

    def moody(text: str | bytes) -> list[str]:
        count = len(heard.heard)
        payload = {"content": "yes", "mood": count, "a.b #1": count, "message_id": count}
        return [message("chat_receive", payload, reply_to=id_of(text))]

    heard.answer = moody
    played = await replay_of(a_talk(tmp_path), endpoint, pace="fast").play(rounds=3)
    assert played.report.varying == {"payload.mood": 3, 'payload["a.b #1"]': 3}
    listed = tmp_path / "vary.txt"
    write_ignored(listed, played.report.varying, 3)
    assert sorted(read_ignored(listed)) == ["payload.mood", 'payload["a.b #1"]']
    assert "# in 3 of 3 answers" in listed.read_text()
    with pytest.raises(BadConfiguration, match="Cannot read"):
        read_ignored(tmp_path / "none.txt")


async def test_of_what_varies_that_which_is_ignored_is_listed_and_not_told(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream

    def moody(text: str | bytes) -> list[str]:
        count = len(heard.heard)
        payload = {"mood": count, "usage": {"ms": count}, "best": [count], "all": [count, count]}
        return [message("chat_receive", payload, reply_to=id_of(text))]

    heard.answer = moody
    ignored = ("payload.usage", "payload.best[0]", "payload.all[0]")
    played = await replay_of(a_talk(tmp_path), endpoint, pace="fast", ignored=ignored).play(2)
    assert played.report.varying == {"payload.mood": 3, "payload.all.*": 3}
    assert not any("usage" in line for line in played.report.lines())
    listed = {"payload.usage.ms": 3, "payload.best.*": 3}
    assert played.varied == {**played.report.varying, **listed}
