"""What a replay says, through which sockets, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.client.dial import HANG_UP_LIMIT_S
from megabot_cli.errors import ConnectionLost
from megabot_cli.protocol.backoff import Linear
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.player import Replay
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import NEVER, Endpoint, Upstream, serving, write_recording
from tests.replay.records import came, id_of, replay, replay_of, sent
from tests.replay.texts import message, say


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


async def test_what_the_upstream_named_then_is_named_as_it_names_it_now(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream

    def told(task: str, message_id: str, reply_to: str | None) -> str:
        payload = {"content": "yes", "task_id": task}
        return message("chat_receive", payload, message_id=message_id, reply_to=reply_to)

    heard.answer = lambda text: [told("task_now", f"up_{len(heard.heard)}", id_of(text))]
    again = message("chat_send", {"task_id": "task_then"}, message_id="m2", reply_to="then")
    unknown = message("chat_send", {"task_id": "nobody's"}, message_id="m3", reply_to="never")
    records = [
        sent(1, say("a", "m1")),
        came(2, told("task_then", "then", "m1")),
        sent(3, again, t=3),
        sent(4, unknown, t=4),
    ]
    path = write_recording(tmp_path / "x.jsonl", records)
    report = await replay(path, endpoint.new_client, ReplayOptions(pace="reply", expect="exact"))
    second, third = (json.loads(text) for text in heard.heard[1:])
    assert (second["payload"]["task_id"], second["metadata"]["reply_to"]) == ("task_now", "up_1")
    assert (third["payload"]["task_id"], third["metadata"]["reply_to"]) == ("nobody's", "never")
    assert report.same == 1


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
    played = await replay_of(path, endpoint, pace="fast").play(2)
    assert (played.report.sent, list(played.report.held_back.values())) == (2, [6])
    await heard.until_heard(3)
    report = await replay(path, endpoint.new_client, ReplayOptions(pace="fast", allow_tools=True))
    await heard.until_heard(7)
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


async def test_clients_are_let_go_together_where_the_upstream_does_not_say_goodbye(
    tmp_path: Path,
) -> None:
    over = asyncio.Event()

    async def reads_nothing(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(message("connection_established", {"session_id": "s1"}))
        await over.wait()
        return socket

    records = [sent(n, message("x", {}, message_id=f"m{n}"), client=f"c{n}") for n in range(1, 11)]
    path = write_recording(tmp_path / "x.jsonl", records)
    upstream = Upstream()
    upstream.serve = reads_nothing  # type: ignore[method-assign]
    async with serving(upstream) as endpoint:
        began = time.monotonic()
        report = await replay(path, endpoint.new_client)
        took = time.monotonic() - began
        over.set()
    assert (report.sent, report.clients) == (10, 10)
    assert took < 5 * HANG_UP_LIMIT_S


async def test_a_recording_with_nothing_to_send_opens_no_connection(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "x.jsonl", [Record(n=1, t=0, kind="mark")])
    report = await replay(path, NEVER)
    assert (report.sent, report.passed) == (0, True)
