"""Clients come and go in a replay as they did."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.errors import CouldNotConnect
from megabot_cli.recording.record import Record
from megabot_cli.replay import playing
from megabot_cli.replay.conversation import read_conversation
from megabot_cli.replay.lifetimes import Course, Recorded
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.replay.player import Replay
from megabot_cli.replay.transport import Transport
from megabot_cli.storage.segment_reader import open_recording
from tests.replay.conftest import Endpoint, Upstream, write_recording
from tests.replay.texts import answer, say


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
