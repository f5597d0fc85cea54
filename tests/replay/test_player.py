from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.errors import ConnectionLost, CouldNotConnect
from megabot_cli.gateway.assistants.interface import Turn
from megabot_cli.protocol.backoff import Linear
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.lane import NewClient
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.player import Replay, play
from megabot_cli.replay.report import ReplayReport
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import NEVER, Endpoint, OpenGateway, Upstream, serving, write_recording
from tests.replay.texts import answer, message, say

FAST = ReplayOptions(pace="fast", settle_s=10)


async def replay(
    path: Path | None,
    new_client: NewClient,
    options: ReplayOptions = FAST,
) -> ReplayReport:
    assert path is not None
    with open_recording(path) as reader:
        return await play(reader, options, new_client)


def sent(n: int, text: str | bytes, *, t: int = 0, client: str = "c1", **more: Any) -> Record:
    head = peek(text) if isinstance(text, str) else None
    record = Record(
        n=n,
        t=t,
        kind="message",
        direction="to_upstream",
        client=client,
        link=more.pop("link", f"link of {client}"),
        id=head.id if head else None,
        type=head.type if head else None,
        **more,
    )
    if isinstance(text, str):
        record.data = text
    else:
        record.opcode, record.data_b64 = "binary", "AAH/"
    return record


def came(n: int, text: str, *, kind: str = "message", link: str = "link of c1") -> Record:
    head = peek(text)
    assert head is not None
    return Record(
        n=n,
        t=n,
        kind=kind,
        direction="to_client",
        link=link,
        type=head.type,
        reply_to=head.reply_to,
        data=text,
    )


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


async def test_the_upstream_hears_fresh_ids_and_otherwise_the_recorded_text(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    texts: list[str | bytes] = [
        '{"id":"m1","type":"chat_send","payload":{"content":"é\\u00e9 \\"x\\""},"n":1.0e2}',
        '{"type":"message","content":"another dialect"}',
        "no JSON at all",
        b"\x00\x01\xff",
        '{"id":"m2","type":"x","payload":1,"metadata":{"reply_to":"m1","session_id":"sess_old"}}',
    ]
    records = [sent(n, text, session="sess_old") for n, text in enumerate(texts, start=1)]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client)
    await heard.until_heard(5)
    first, second, third, fourth, fifth = heard.heard
    fresh = json.loads(first)["id"]
    assert fresh.startswith("msg_")
    assert first == str(texts[0]).replace('"m1"', f'"{fresh}"')
    assert [second, third, fourth] == texts[1:4]
    assert json.loads(fifth)["metadata"] == {"reply_to": fresh, "session_id": "sess_1"}
    assert report.sent == 5


async def test_ids_can_be_kept(upstream: tuple[Upstream, Endpoint], tmp_path: Path) -> None:
    heard, endpoint = upstream
    text = '{"id":"m1","type":"x","payload":1,"timestamp":1700000000}'
    path = write_recording(tmp_path / "x.jsonl", [sent(1, text)])
    await replay(path, endpoint.new_client, ReplayOptions(pace="fast", keep_ids=True))
    await heard.until_heard(1)
    assert heard.heard == [text]


async def test_recorded_clients_on_one_session_are_sockets_on_one_session(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    records = [
        sent(1, say("a", "m1"), client="c1", link="link_1"),
        sent(2, say("b", "m2"), client="c2", link="link_1"),
        sent(3, say("c", "m3"), client="c3", link="link_2"),
        sent(4, say("d", "m4"), client="c1", link="link_1"),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client)
    await heard.until_heard(4)
    assert report.clients == 3
    assert heard.joined == [None, "sess_1", None]


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


async def test_tool_messages_are_held_back_unless_allowed(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    call = {"tool_name": "rm", "parameters": {}, "execution_id": "e1"}
    batch = f'{{"id":"b","type":"batch","payload":{{"messages":[{message("tool_call", call)}]}}}}'
    records = [
        sent(1, message("tool_call", call, message_id="m1")),
        sent(2, batch),
        sent(3, message("tool_result", {"execution_id": "e9", "status": "done"})),
        sent(4, say("hello", "m4")),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client)
    await heard.until_heard(1)
    assert report.sent == 1
    assert list(report.held_back.values()) == [3]
    assert len(heard.heard) == 1
    report = await replay(path, endpoint.new_client, ReplayOptions(pace="fast", allow_tools=True))
    await heard.until_heard(5)
    assert (report.sent, report.held_back) == (4, {})


async def test_a_tool_result_names_the_call_that_came_in_this_replay(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream

    def call(execution_id: str, reply_to: str) -> str:
        payload = {"tool_name": "t", "parameters": {}, "execution_id": execution_id}
        return message("tool_call", payload, reply_to=reply_to)

    def ask_for_a_tool(text: str | bytes) -> list[str]:
        head = peek(text)
        assert head is not None
        return [call("e_now", head.id or "")] if head.type == "chat_send" else []

    heard.answer = ask_for_a_tool
    records = [
        sent(1, say("use your tool", "m1")),
        came(2, call("e_then", "m1")),
        sent(3, message("tool_result", {"execution_id": "e_then", "status": "done"}), t=300_000),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client, ReplayOptions(allow_tools=True))
    await heard.until_heard(2)
    assert json.loads(heard.heard[1])["payload"]["execution_id"] == "e_now"
    assert report.same == 1


async def test_messages_leave_when_they_did_capped_and_sped_up(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    times = [5_000_000, 6_000_000, 66_000_000, 67_000_000]
    records = [sent(n, say("x", f"m{n}"), t=t) for n, t in enumerate(times, start=1)]
    path = write_recording(tmp_path / "x.jsonl", records)
    options = ReplayOptions(speed=10, max_gap_s=2)  # 0, 1, 3, 4 s, ten times as quick
    began = time.monotonic()
    report = await replay(path, endpoint.new_client, options)
    assert report.duration_s >= 0.4
    assert time.monotonic() - began < 10
    assert report.lateness.max_ms >= report.lateness.p50_ms >= 0
    await heard.until_heard(4)


async def test_an_answer_that_does_not_come_is_missing_and_not_waited_for_for_ever(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    _, endpoint = upstream
    records = [sent(1, say("hello", "m1")), came(2, answer("hi", reply_to="m1"))]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client, ReplayOptions(pace="fast", settle_s=0.1))
    assert (report.missing, report.passed) == (1, False)
    assert report.differences[0].n == 1


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


async def test_what_the_relay_refused_then_is_not_sent_now(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream

    def refused(error: str, reply_to: str) -> str:
        payload = {"error": error, "message": "no", "code": 503}
        return message("connection_error", payload, reply_to=reply_to)

    records = [
        sent(1, say("too late", "m1")),
        came(2, refused("upstream_unavailable", "m1"), kind="inject"),
        sent(3, say("perhaps", "m2")),
        came(4, refused("delivery_unknown", "m2"), kind="inject"),
        came(5, message("status_update", {"status": "reconnecting"}), kind="inject"),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client)
    await heard.until_heard(1)
    assert (report.sent, report.uncompared) == (1, 1)
    assert report.held_back == {"refused by the relay when it was recorded": 1}
    assert report.passed


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ReplayOptions(pace="fast", limit=2), ["a1", "b1"]),
        (ReplayOptions(pace="fast", selection=Selection(clients=("c2",))), ["b1", "b2"]),
        (ReplayOptions(pace="fast", selection=Selection(sessions=("s1",))), ["a1", "a2"]),
        (ReplayOptions(pace="fast", selection=Selection(grep="1")), ["a1", "b1"]),
        (ReplayOptions(pace="fast", selection=Selection(from_us=15, until_us=25)), ["b1"]),
    ],
    ids=["limit", "client", "session", "grep", "range"],
)
async def test_a_part_of_a_recording_can_be_chosen(
    upstream: tuple[Upstream, Endpoint],
    tmp_path: Path,
    options: ReplayOptions,
    expected: list[str],
) -> None:
    heard, endpoint = upstream
    records = [
        sent(1, "a1", t=10, client="c1", session="s1"),
        sent(2, "b1", t=20, client="c2", session="s2"),
        sent(3, "a2", t=30, client="c1", session="s1"),
        sent(4, "b2", t=40, client="c2", session="s2"),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client, options)
    await heard.until_heard(len(expected))
    assert sorted(map(str, heard.heard)) == expected
    assert report.sent == len(expected)


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


@pytest.mark.parametrize("pace", ["original", "fast"])
async def test_what_waited_for_a_connection_that_did_not_come_back_was_not_sent(
    tmp_path: Path, pace: Pace
) -> None:
    gone = asyncio.Event()

    async def hangs_up(request: web.Request) -> web.StreamResponse:
        if gone.is_set():
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(message("connection_established", {"session_id": "s1"}))
        await socket.receive()
        gone.set()
        await socket.close(code=1011)
        return socket

    times = [0, 200_000, 400_000]
    records = [sent(n, say("x", f"m{n}"), t=t) for n, t in enumerate(times, start=1)]
    path = write_recording(tmp_path / "x.jsonl", records)
    options = ReplayOptions(pace=pace)
    upstream = Upstream()
    upstream.serve = hangs_up  # type: ignore[assignment, method-assign]
    async with serving(upstream) as endpoint:

        def new_client(name: str, session_id: str | None) -> MegaBotClient:
            # At the fastest pace the limit spreads them.
            return MegaBotClient(
                endpoint.url,
                messages_per_second=5,
                burst=1,
                reconnect=Linear(first_s=0.1, attempts=2),
            )

        with open_recording(path) as reader:
            playing = Replay(read_conversation(reader, options), options, new_client)
        with pytest.raises(ConnectionLost):
            await playing.play()
    report = playing.so_far().report
    assert (report.sent, report.uncompared) == (1, 1)


async def test_an_upstream_that_is_not_there_could_not_be_connected_to(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "x.jsonl", [sent(1, say("x", "m1"))])
    nowhere = Endpoint("ws://127.0.0.1:1/ws")
    with pytest.raises(CouldNotConnect):
        await replay(path, nowhere.new_client)


async def test_a_recording_with_nothing_to_send_opens_no_connection(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "x.jsonl", [Record(n=1, t=0, kind="mark")])
    report = await replay(path, NEVER)
    assert (report.sent, report.passed) == (0, True)
