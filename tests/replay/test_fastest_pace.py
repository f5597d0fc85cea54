"""Sending as fast as an upstream answers, against real sockets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from megabot_cli.recording.answers import Answer
from megabot_cli.recording.record import Record
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.player import Replay
from megabot_cli.replay.playing import Run
from megabot_cli.replay.script import Script
from megabot_cli.replay.transport import Transport
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, write_recording
from tests.replay.records import (
    a_talk,
    answering,
    came,
    finish,
    id_of,
    replay_of,
    sent,
)
from tests.replay.texts import answer, say


def answered_at_once(count: int) -> list[Record]:
    """Records of so many messages, each with its answer."""
    records: list[Record] = []
    for number in range(count):
        records.append(sent(2 * number + 1, say(f"{number}", f"m{number}"), t=number))
        records.append(came(2 * number + 2, answer(f"{number}", reply_to=f"m{number}")))
    return records


async def sends_just(count: int, replay: Replay, heard: Upstream) -> None:
    """It sends so many messages, and while nothing comes to them no more. Then it is stopped."""
    work = asyncio.ensure_future(replay.play())
    await heard.until_heard(count)
    await asyncio.sleep(0.2)
    assert len(heard.heard) == count
    replay.transport.stop()
    work.cancel()
    await asyncio.wait([work])


async def test_as_fast_as_possible_is_no_faster_than_an_upstream_answers(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    waiting: list[str] = []

    def in_hundreds(text: str | bytes) -> list[str]:
        """Nothing is answered before a hundred are asked, and more than that are refused."""
        asked = json.loads(text)
        waiting.append(answer(asked["payload"]["content"], reply_to=asked["id"]))
        if len(waiting) < 100:
            return []
        answers, waiting[:] = list(waiting), []
        return answers

    heard.answer = in_hundreds
    path = write_recording(tmp_path / "x.jsonl", answered_at_once(450))
    work = asyncio.ensure_future(replay_of(path, endpoint, pace="fast", settle_s=0.3).play())
    most = 0
    while not work.done():
        await asyncio.sleep(0.001)
        most = max(most, len(waiting))
    report = (await work).report
    assert most < 100
    assert (report.sent, report.same, report.missing) == (450, 400, 50), report.lines()


async def test_as_fast_as_possible_leaves_a_hundred_unanswered_and_not_more(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    path = write_recording(tmp_path / "x.jsonl", answered_at_once(150))
    # With the hundredth, the first is answered.
    heard.answer = lambda text: (
        [answer("0", reply_to=id_of(heard.heard[0]))] if len(heard.heard) == 100 else []
    )
    replay = replay_of(path, endpoint, pace="fast", settle_s=30)
    await sends_just(101, replay, heard)


async def test_answers_that_came_late_after_all_let_no_more_than_a_hundred_be_unanswered(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    path = write_recording(tmp_path / "x.jsonl", answered_at_once(350))

    def late(_: str | bytes) -> list[str]:
        """The first hundred wait too long; then those are answered, and nothing any more."""
        if len(heard.heard) != 101:
            return []
        return [answer(f"{n}", reply_to=id_of(heard.heard[n])) for n in range(100)]

    heard.answer = late
    replay = replay_of(path, endpoint, pace="fast", settle_s=1)
    await sends_just(200, replay, heard)


async def test_as_fast_as_possible_stands_still_and_goes_step_by_step(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    replay = replay_of(a_talk(tmp_path), endpoint, pace="fast")
    replay.transport.pause()
    work = asyncio.ensure_future(replay.play())
    for count in (0, 1, 2):
        await heard.until_heard(count)
        await asyncio.sleep(0.05)
        assert len(heard.heard) == count
        replay.transport.step()
    assert (await finish(work)).report.same == 3


async def test_a_step_sends_a_message_also_while_a_hundred_are_unanswered(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    path = write_recording(tmp_path / "x.jsonl", answered_at_once(150))
    replay = replay_of(path, endpoint, pace="fast", settle_s=30)

    def pausing(_: str | bytes) -> list[str]:
        """With the hundredth it is paused, and the first is answered: nothing more is."""
        if len(heard.heard) != 100:
            return []
        replay.transport.pause()
        return [answer("0", reply_to=id_of(heard.heard[0]))]

    heard.answer = pausing
    work = asyncio.ensure_future(replay.play())
    for count in (100, 101, 102, 103):
        await heard.until_heard(count)
        await asyncio.sleep(0.05)
        assert len(heard.heard) == count
        replay.transport.step()
    replay.transport.stop()
    work.cancel()
    await asyncio.wait([work])


async def test_as_fast_as_possible_goes_on_where_nothing_is_answered(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    path = write_recording(tmp_path / "x.jsonl", answered_at_once(250))
    played = await replay_of(path, upstream[1], pace="fast", settle_s=0.2).play()
    assert (played.report.sent, played.report.missing) == (250, 250)
    assert played.report.duration_s < 10


async def test_no_message_is_looked_at_again_in_the_end(tmp_path: Path) -> None:
    class Counting(dict[int, Answer]):
        looked_at = 0

        def __getitem__(self, place: int) -> Answer:
            self.looked_at += 1
            return super().__getitem__(place)

    options = ReplayOptions()
    with open_recording(a_talk(tmp_path)) as reader:
        conversation = read_conversation(reader, options)
    recorded = conversation.answers = Counting(conversation.answers)
    run = Run(conversation, options, Script(conversation, options), Transport(), None)
    assert recorded.looked_at
    recorded.looked_at = 0
    await run._settle()
    assert recorded.looked_at == 0
