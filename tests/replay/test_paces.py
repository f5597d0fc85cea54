"""Paces, rounds, context, and being steered, against real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import weakref
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.errors import BadConfiguration
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.controls import Controls, control_socket
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.outcome import Played
from megabot_cli.replay.player import Replay
from megabot_cli.replay.playing import Run
from megabot_cli.replay.transport import Transport
from megabot_cli.replay.varying import read_ignored, write_ignored
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, write_recording
from tests.replay.test_player import came, sent
from tests.replay.texts import answer, message, say


def asked(n: int, at_ms: int, text: str, client: str = "c1") -> Record:
    return Record(
        n=n, t=at_ms * 1000, kind="message", direction="to_upstream", client=client,
        link=f"link of {client}", session="s1", id=f"m{n}", type="chat_send",
        data=say(text, f"m{n}"),
    )  # fmt: skip


def answered(n: int, at_ms: int, to: int, client: str = "c1") -> Record:
    text = answer("yes", reply_to=f"m{to}")
    return Record(
        n=n, t=at_ms * 1000, kind="message", direction="to_client", link=f"link of {client}",
        session="s1", type="chat_receive", reply_to=f"m{to}", data=text,
    )  # fmt: skip


def a_talk(tmp_path: Path) -> Path:
    """Three questions, each answered, the second 30 ms after the first answer."""
    records = [
        asked(1, 0, "one"), answered(2, 10, 1),
        asked(3, 40, "two"), answered(4, 50, 3),
        asked(5, 60, "three"), answered(6, 70, 5),
    ]  # fmt: skip
    return write_recording(tmp_path / "talk.jsonl", records)


def answering(heard: Upstream, delay_s: float = 0.0) -> None:
    heard.answer = lambda text: [answer("yes", reply_to=_id(text))]


def _id(text: str | bytes) -> str | None:
    head = peek(text)
    return head.id if head else None


def replay_of(path: Path, endpoint: Endpoint, **options: Any) -> Replay:
    asked_for = ReplayOptions(expect="exact", **options)
    with open_recording(path) as reader:
        return Replay(read_conversation(reader, asked_for), asked_for, endpoint.new_client)


def said(heard: Upstream) -> list[str]:
    return [json.loads(text)["payload"]["content"] for text in heard.heard]


async def finish(work: asyncio.Task[Played]) -> Played:
    async with asyncio.timeout(10):
        return await work


async def test_fixed_sends_so_many_a_second(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    played = await replay_of(a_talk(tmp_path), endpoint, pace="fixed", per_s=20).play()
    assert played.report.duration_s >= 0.1
    assert played.report.passed
    assert played.figures.now["lateness_ms"].count == 3


async def test_reply_waits_for_the_answer_and_the_pause_after_it(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    order: list[str] = []

    def slow(text: str | bytes) -> list[str]:
        order.append(json.loads(text)["payload"]["content"])
        return [answer("yes", reply_to=_id(text))]

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
    heard.answer = lambda text: [] if "two" in str(text) else [answer("yes", reply_to=_id(text))]
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
    replay = replay_of(a_talk(tmp_path), endpoint, pace="original")
    work = asyncio.ensure_future(replay.play(rounds=0))
    await heard.until_heard(8)
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
        return [answer("yes", reply_to=_id(text))]

    heard.answer = answer_and_look
    assert (await replay.play()).report.passed
    assert replies_before == [0, 1, 2]  # an answer each; the greeting is none


async def test_what_is_ignored_makes_no_difference(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    heard.answer = lambda text: [answer("no", reply_to=_id(text))]
    path = a_talk(tmp_path)
    assert (await replay_of(path, endpoint, pace="fast").play()).report.same_shape == 3
    ignoring = replay_of(path, endpoint, pace="fast", ignored=("payload.content",))
    assert (await ignoring.play()).report.same == 3


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

        await asyncio.sleep(0.05)
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


async def test_what_varies_from_run_to_run_is_told_and_can_be_ignored(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream

    def moody(text: str | bytes) -> list[str]:
        payload = {"content": "yes", "mood": len(heard.heard), "message_id": len(heard.heard)}
        return [message("chat_receive", payload, reply_to=_id(text))]

    heard.answer = moody
    played = await replay_of(a_talk(tmp_path), endpoint, pace="fast").play(rounds=3)
    assert played.report.varying == {"payload.mood": 3}
    listed = tmp_path / "vary.txt"
    write_ignored(listed, played.report.varying, 3)
    assert read_ignored(listed) == ["payload.mood"]
    assert "# in 3 of 3 answers" in listed.read_text()
    with pytest.raises(BadConfiguration, match="Cannot read"):
        read_ignored(tmp_path / "none.txt")


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
    records = []
    for number in range(450):
        records.append(sent(2 * number + 1, say(f"{number}", f"m{number}"), t=number))
        records.append(came(2 * number + 2, answer(f"{number}", reply_to=f"m{number}")))
    path = write_recording(tmp_path / "x.jsonl", records)
    work = asyncio.ensure_future(replay_of(path, endpoint, pace="fast", settle_s=0.3).play())
    most = 0
    while not work.done():
        await asyncio.sleep(0.001)
        most = max(most, len(waiting))
    report = (await work).report
    assert most < 100
    assert (report.sent, report.same, report.missing) == (450, 400, 50), report.lines()


async def test_as_fast_as_possible_goes_on_where_nothing_is_answered(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    records = []
    for number in range(250):
        records.append(sent(2 * number + 1, say(f"{number}", f"m{number}"), t=number))
        records.append(came(2 * number + 2, answer(f"{number}", reply_to=f"m{number}")))
    path = write_recording(tmp_path / "x.jsonl", records)
    played = await replay_of(path, upstream[1], pace="fast", settle_s=0.2).play()
    assert (played.report.sent, played.report.missing) == (250, 250)
    assert played.report.duration_s < 3


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
    run = Run(conversation, options, Transport(), None)
    assert recorded.looked_at
    recorded.looked_at = 0
    await run._settle()
    assert recorded.looked_at == 0
