from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.errors import CouldNotConnect
from megabot_cli.gateway.assistants.interface import Turn
from megabot_cli.protocol.envelope import peek
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.player import Replay
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, OpenGateway, Upstream, write_recording
from tests.replay.records import came, replay, sent
from tests.replay.texts import answer, say


class Grumbler:
    """An assistant with another opinion."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        yield "No. "
        yield "Never."


async def a_recorded_talk(tape: Any, recorder: Recorder, endpoint: Endpoint) -> Path:
    """Two clients, each in its own session, three questions."""
    first, second = await tape(endpoint, "client_1"), await tape(endpoint, "client_2")
    await first.say(say("good morning", "m1"))
    await first.hear()
    await second.say(say("and to me?", "m2"))
    await first.say(say("what is a relay", "m3"))
    await second.hear()
    await first.hear()
    folder = recorder.close()
    assert folder is not None
    return folder


@pytest.mark.parametrize("pace", ["fast", "original"])
async def test_a_recorded_talk_gets_the_same_answers_again(
    tape: Any, recorder: Recorder, open_gateway: OpenGateway, pace: str
) -> None:
    endpoint = await open_gateway()
    path = await a_recorded_talk(tape, recorder, endpoint)
    report = await replay(
        path,
        endpoint.new_client,
        ReplayOptions(pace=pace, expect="exact"),  # type: ignore[arg-type]
    )
    assert report.passed
    assert (report.sent, report.clients, report.same) == (3, 2, 3)
    assert (report.same_shape, report.different, report.missing, report.extra) == (0, 0, 0, 0)
    assert report.differences == []
    assert report.replies > 6
    assert report.recorded_timing.total_p50_ms > 0
    assert report.replayed_timing.total_p50_ms >= report.replayed_timing.first_p50_ms > 0


async def test_other_words_pass_as_the_same_shape_but_not_as_exact(
    tape: Any, recorder: Recorder, open_gateway: OpenGateway
) -> None:
    path = await a_recorded_talk(tape, recorder, await open_gateway())
    other = await open_gateway(Grumbler())
    for expect, passed in (("shape", True), ("exact", False), ("none", True)):
        options = ReplayOptions(pace="fast", expect=expect)  # type: ignore[arg-type]
        report = await replay(path, other.new_client, options)
        assert (report.passed, report.same_shape) == (passed, 3), expect
    assert [difference.type for difference in report.differences] == ["chat_send"] * 3
    assert report.differences[0].replayed == "No. Never."
    assert "good morning" in report.differences[0].recorded
    assert json.loads(json.dumps(report.as_dict()))["same_shape"] == 3
    assert any("same shape" in line for line in report.lines())


@pytest.mark.parametrize(("redacted", "failed"), [(True, 0), (False, 1)])
async def test_what_went_out_with_a_pseudonym_fails_nowhere_for_other_words(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, redacted: bool, failed: int
) -> None:
    heard, endpoint = upstream
    heard.answer = lambda text: [answer("now", reply_to=json.loads(text)["id"])]
    paths = ["$.payload.content"] if redacted else None
    records = [sent(1, say("token", "m1"), redacted=paths), came(2, answer("then", reply_to="m1"))]
    path = write_recording(tmp_path / "x.jsonl", records)
    options = ReplayOptions(pace="fast", expect="exact")
    with open_recording(path) as reader:
        replaying = Replay(read_conversation(reader, options), options, endpoint.new_client)
    played = await replaying.play()
    assert (played.report.failed, played.report.passed) == (failed, not failed)
    assert [case.failed for case in played.cases] == [bool(failed)]


async def test_a_recording_torn_in_the_middle_of_an_answer_replays(
    tape: Any, recorder: Recorder, open_gateway: OpenGateway
) -> None:
    endpoint = await open_gateway()
    path = await a_recorded_talk(tape, recorder, endpoint)
    (segment,) = path.iterdir()
    content = segment.read_bytes()
    first_chunk_of_third = content.index(b'"sequence\\":2', content.index(b"what is a relay"))
    torn = path.parent / "torn.jsonl.part"
    torn.write_bytes(content[:first_chunk_of_third])
    report = await replay(torn, endpoint.new_client, ReplayOptions(pace="fast", expect="exact"))
    assert report.passed, report.lines()
    assert report.sent == 3
    assert report.same + report.uncompared == 3
    assert any("torn at byte" in warning for warning in report.warnings)


async def test_what_every_socket_of_a_session_hears_counts_once(
    tape: Any, recorder: Recorder, open_gateway: OpenGateway
) -> None:
    endpoint = await open_gateway()
    path = await a_recorded_talk(tape, recorder, endpoint)
    (segment,) = path.iterdir()
    shared = segment.read_text().replace("link of client_2", "link of client_1")
    together = path.parent / "together.jsonl"
    together.write_text(shared)
    report = await replay(together, endpoint.new_client, ReplayOptions(pace="fast", expect="exact"))
    assert report.passed, report.lines()
    assert (report.same, report.clients) == (3, 2)


async def test_an_answer_that_does_not_come_is_missing_and_not_waited_for_for_ever(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    _, endpoint = upstream
    records = [sent(1, say("hello", "m1")), came(2, answer("hi", reply_to="m1"))]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client, ReplayOptions(pace="fast", settle_s=0.1))
    assert (report.missing, report.passed) == (1, False)
    assert report.differences[0].n == 1


@pytest.mark.parametrize("pace", ["fast", "reply"])
async def test_what_is_said_to_everybody_does_not_make_a_missing_answer_be_waited_for(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Any
) -> None:
    talking, endpoint = upstream
    talking.says_every_s = 0.05
    records = [
        *(sent(1, say("hello", "m1")), came(2, answer("hi", reply_to="m1"))),
        *(sent(3, say("you?", "m2")), came(4, answer("well", reply_to="m2"))),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    async with asyncio.timeout(10):
        report = await replay(path, endpoint.new_client, ReplayOptions(pace=pace, settle_s=0.5))
    assert (report.sent, report.missing) == (2, 2)
    assert report.unasked > 5  # it went on all the while


async def test_an_answer_where_none_was_recorded_is_extra(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, recorder: Recorder
) -> None:
    heard, endpoint = upstream

    def echo(text: str | bytes) -> list[str]:
        head = peek(text)
        return [answer("hi", reply_to=head.id if head else None)]

    heard.answer = echo
    recorder.put(
        "message",
        direction="to_upstream",
        client="c1",
        id="m1",
        type="chat_send",
        data=say("hello", "m1"),
    )
    report = await replay(recorder.close(), endpoint.new_client)
    assert (report.extra, report.passed) == (1, False)


async def test_as_fast_as_possible_every_client_keeps_its_order_and_each_answer_finds_its_question(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream

    def echo(text: str | bytes) -> list[str]:
        asked = json.loads(text)
        return [answer(asked["payload"]["content"], reply_to=asked["id"])]

    heard.answer = echo
    records = []
    for number in range(300):
        client, words = f"c{number % 2}", f"number {number}"
        asked = say(words, f"m{number}")
        records.append(sent(2 * number + 1, asked, t=2 * number, client=client))
        told_then = answer(words, reply_to=f"m{number}")
        records.append(came(2 * number + 2, told_then, link=f"link of {client}"))
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client)
    assert (report.sent, report.same, report.passed) == (300, 300, True), report.lines()
    messages = [json.loads(text) for text in heard.heard]
    spoken = [int(each["payload"]["content"].split()[1]) for each in messages]
    for first in (0, 1):
        assert [one for one in spoken if one % 2 == first] == list(range(first, 300, 2))
    assert len({each["id"] for each in messages}) == 300


async def test_how_far_it_is_can_be_asked_at_any_time(
    tape: Any, recorder: Recorder, open_gateway: OpenGateway
) -> None:
    endpoint = await open_gateway()
    path = await a_recorded_talk(tape, recorder, endpoint)
    options = ReplayOptions(speed=1000)
    with open_recording(path) as reader:
        playing = Replay(read_conversation(reader, options), options, endpoint.new_client)
    assert (playing.progress(), playing.has_sent) == (None, False)
    report = (await playing.play()).report
    progress = playing.progress()
    assert progress is not None
    assert (progress.sent, progress.to_send, progress.outstanding) == (3, 3, 0)
    assert (progress.replies, progress.left_s) == (report.replies, 0)
    assert playing.has_sent


async def test_an_upstream_that_is_not_there_could_not_be_connected_to(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "x.jsonl", [sent(1, say("x", "m1"))])
    nowhere = Endpoint("ws://127.0.0.1:1/ws")
    with pytest.raises(CouldNotConnect):
        await replay(path, nowhere.new_client)
