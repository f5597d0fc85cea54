"""Clients come and go in a replay as they did."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.errors import CouldNotConnect
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay import playing, seeking
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.lifetimes import Course, Recorded
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.plan import plan_of
from megabot_cli.replay.player import Replay
from megabot_cli.replay.transport import Transport
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, waiting_to_send, write_recording
from tests.replay.texts import answer, message, say


@pytest.fixture(autouse=True)
def opened_just_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "_LEAD_S", 0.05)


def one_after_the_other(
    tmp_path: Path, count: int, *, link: str | None = None, closes: bool = True
) -> Path:
    """Clients that each come, ask, hear and go, 300 ms apart."""
    records: list[Record] = []

    def add(kind: str, at_ms: int, client: str, **more: object) -> None:
        about = {"link": link or f"link of {client}", "session": f"s {link or client}", **more}
        records.append(
            Record(n=len(records) + 1, t=at_ms * 1000, kind=kind, client=client, **about)  # type: ignore[arg-type]
        )

    for number in range(count):
        at_ms, client, asked = 300 * number, f"c{number}", f"m{number}"
        add("open", at_ms, client)
        add("message", at_ms + 10, client, direction="to_upstream", id=asked, type="chat_send",
            data=say(client, asked))  # fmt: skip
        add("message", at_ms + 20, client, direction="to_client", type="chat_receive",
            reply_to=asked, data=answer("yes", reply_to=asked))  # fmt: skip
        if closes:
            add("close", at_ms + 40, client, by="client", code=1000)
    return write_recording(tmp_path / "one_by_one.jsonl", records)


def replay_of(path: Path, endpoint: Endpoint, pace: Pace = "original") -> Replay:
    options = ReplayOptions(expect="exact", pace=pace, settle_s=5)
    with open_recording(path) as reader:
        return Replay(read_conversation(reader, options), options, endpoint.new_client)


def answering(heard: Upstream) -> None:
    heard.answer = lambda text: [answer("yes", reply_to=json.loads(text)["id"])]


@pytest.mark.parametrize(
    ("pace", "closes", "most"),
    [("original", True, 2), ("reply", True, 2), ("original", False, 5), ("fast", True, 5)],
)
async def test_clients_that_came_one_after_the_other_do_so_again(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Pace, closes: bool, most: int
) -> None:
    heard, endpoint = upstream
    answering(heard)
    path = one_after_the_other(tmp_path, 5, closes=closes)
    report = (await replay_of(path, endpoint, pace).play()).report
    assert (report.sent, report.same, report.clients) == (5, 5, 5), report.lines()
    assert heard.most_here <= most


async def test_who_comes_later_joins_the_session_of_those_who_have_gone(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    path = one_after_the_other(tmp_path, 3, link="one link")
    report = (await replay_of(path, endpoint).play()).report
    assert (report.same, report.clients) == (3, 3), report.lines()
    assert heard.joined == [None, "sess_1", "sess_1"]
    assert heard.most_here < 3


async def test_one_that_cannot_come_ends_the_replay(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    nowhere = Endpoint("ws://127.0.0.1:1/ws")
    replay = replay_of(one_after_the_other(tmp_path, 3), endpoint)

    def new_client(name: str, session_id: str | None) -> MegaBotClient:
        return (nowhere if name == "c2" else endpoint).new_client(name, session_id)

    replay._new_client = new_client
    with pytest.raises(CouldNotConnect):
        await replay.play()
    assert replay.so_far().report.sent == 2


async def test_a_step_sends_a_message_of_one_who_has_not_come_yet(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path
) -> None:
    heard, endpoint = upstream
    answering(heard)
    replay = replay_of(one_after_the_other(tmp_path, 3), endpoint)
    replay.transport.pause()
    work = asyncio.ensure_future(replay.play())
    for count in (1, 2, 3):
        await waiting_to_send(replay)
        await asyncio.sleep(0.05)
        assert len(heard.heard) == count - 1
        replay.transport.step()
        await heard.until_heard(count)
    replay.transport.resume()
    async with asyncio.timeout(10):
        assert (await work).report.same == 3


async def test_a_step_goes_to_the_next_message_past_what_is_none() -> None:
    transport = Transport(paused=True)
    transport.start()
    coming = asyncio.ensure_future(transport.until(1.0, is_message=False))
    sending = asyncio.ensure_future(transport.until(2.0))
    await asyncio.sleep(0.01)
    transport.step()
    async with asyncio.timeout(5):
        await asyncio.gather(coming, sending)
    assert transport.position == 2.0
    transport.close()


def with_listeners(tmp_path: Path) -> Path:
    """A speaker; an executor, whose result is held back; one that listens; one of another
    session; one that went before anything was said, and one that came after all."""
    records: list[Record] = []

    def add(kind: str, at_ms: int, client: str, link: str = "l1", **more: object) -> None:
        about = {"client": client, "link": link, "session": f"s {link}", **more}
        records.append(Record(n=len(records) + 1, t=at_ms * 1000, kind=kind, **about))  # type: ignore[arg-type]

    def add_question(at_ms: int, name: str) -> None:
        add("message", at_ms, "speaker", direction="to_upstream", id=name, type="chat_send",
            data=say("x", name))  # fmt: skip
        add("message", at_ms + 1, "speaker", direction="to_client", type="chat_receive",
            reply_to=name, data=answer("yes", reply_to=name))  # fmt: skip

    add("open", 0, "gone")
    add("close", 1, "gone", by="client", code=1000)
    add("open", 2, "listener")
    add("open", 3, "speaker")
    add("open", 4, "other", link="l2")
    for place in range(3):
        add_question(10 + place, f"m{place}")
    add("open", 300, "executor")
    result = message("tool_result", {"execution_id": "e", "status": "completed"}, message_id="r")
    add("message", 310, "executor", direction="to_upstream", id="r", type="tool_result",
        data=result)  # fmt: skip
    add("close", 320, "listener", by="client", code=1000)
    add_question(600, "last")
    add("open", 700, "late")
    return write_recording(tmp_path / "listeners.jsonl", records)


LISTENERS = {"listener", "executor", "other"}


@pytest.mark.parametrize(
    ("pace", "most", "opened"),
    [("original", 4, LISTENERS | {"gone"}), ("fast", 5, LISTENERS | {"gone"})],
)
async def test_clients_that_say_nothing_are_there_as_well(
    upstream: tuple[Upstream, Endpoint], tmp_path: Path, pace: Pace, most: int, opened: set[str]
) -> None:
    heard, endpoint = upstream
    answering(heard)
    replay = replay_of(with_listeners(tmp_path), endpoint, pace)
    names: list[str] = []

    def new_client(name: str, session_id: str | None) -> MegaBotClient:
        names.append(name)
        return endpoint.new_client(name, session_id)

    replay._new_client = new_client
    report = (await replay.play()).report
    assert (report.same, report.clients, report.silent) == (4, 5, 4), report.lines()
    assert set(names) == opened | {"speaker"}
    assert heard.most_here <= most
    # One session for each link; who came first began it.
    assert heard.joined.count(None) == 2
    assert names[0] == "gone"
    assert "5 clients (4 silent)" in report.lines()[0]


@pytest.mark.parametrize(
    ("wanted", "silent"),
    [
        (Selection(), LISTENERS | {"gone"}),
        (Selection(clients=("speaker",)), set()),
        (Selection(clients=("speaker", "listener")), {"listener"}),
        (Selection(sessions=("s l1",)), {"listener", "executor", "gone"}),
        (Selection(begin=Place("number", 10)), LISTENERS),
        (Selection(until=Place("number", 10)), {"listener", "other", "gone"}),
        (Selection(types=("chat_*",)), set()),
        (Selection(where="size > 1"), set()),
    ],
    ids=["all", "client", "two", "session", "from", "until", "type", "where"],
)
@pytest.mark.parametrize("lead", [1, 10_000])
def test_who_was_there_is_chosen_by_client_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lead: int, wanted: Selection, silent: set[str]
) -> None:
    monkeypatch.setattr(seeking, "_LEAD_RECORDS", lead)
    options = ReplayOptions(selection=wanted)
    with open_recording(with_listeners(tmp_path)) as reader:
        conversation = read_conversation(reader, options)
    assert set(conversation.silent) == silent
    plan = plan_of(conversation, options)
    assert (plan.silent, plan.clients) == (len(silent), len(silent) + bool(plan.messages))


def test_with_limit_they_are_those_that_came_before_the_last_message(tmp_path: Path) -> None:
    with open_recording(with_listeners(tmp_path)) as reader:
        conversation = read_conversation(reader, ReplayOptions(limit=2))
    assert set(conversation.silent) == {"listener", "other", "gone"}


async def test_an_executor_that_may_answer_is_no_listener(tmp_path: Path) -> None:
    with open_recording(with_listeners(tmp_path)) as reader:
        conversation = read_conversation(reader, ReplayOptions(allow_tools=True))
    assert set(conversation.silent) == {"listener", "other", "gone"}


def test_a_moment_is_between_the_messages_it_was_between() -> None:
    course = Course([1_000_000, 3_000_000, 13_000_000], [0.0, 2.0, 4.0])  # a pause was cut
    assert [course.position(t * 1_000_000) for t in (0, 1, 2, 3, 8, 13, 14)] == [
        0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0,
    ]  # fmt: skip


def test_who_came_back_came_at_first_and_went_at_last() -> None:
    recorded = Recorded()
    for kind, t in (("open", 1), ("close", 2), ("open", 3)):
        recorded.take(kind, "c", t)
    assert (recorded.opened, recorded.closed) == ({"c": 1}, {})
    recorded.take("close", "c", 9)
    assert recorded.closed == {"c": 9}
