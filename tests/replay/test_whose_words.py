"""Which message of which client something is about: a refusal, a close."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.conversation import Conversation, read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.conftest import write_recording
from tests.replay.records import sent
from tests.replay.texts import refusal, say

MINUTE_US = 60_000_000


def read(path: Path, records: list[Record], clients: tuple[str, ...] = ()) -> Conversation:
    end = Record(n=records[-1].n + 1, t=records[-1].t, kind="end")
    write_recording(path, [*records, end])
    with open_recording(path) as reader:
        return read_conversation(reader, ReplayOptions(selection=Selection(clients=clients)))


def refused(n: int, error: str, to: str, client: str, link: str = "l1") -> Record:
    return Record(
        n=n, t=n, kind="inject", direction="to_client", client=client, link=link,
        type="connection_error", reply_to=to, data=refusal(error, reply_to=to),
    )  # fmt: skip


def event(n: int, kind: str, t: int, client: str | None = None) -> Record:
    return Record(n=n, t=t, kind=kind, client=client, link="l1")


@pytest.mark.parametrize("links", [("l1", "l1"), ("l1", "l2")])
def test_what_the_relay_says_of_a_message_is_about_its_own_client_s(
    tmp_path: Path, links: tuple[str, str]
) -> None:
    records = [
        sent(1, say("of ann", "m1"), client="ann", link=links[0]),
        sent(2, say("of ben", "m1"), client="ben", link=links[1]),
        refused(3, "delivery_unknown", "m1", "ann", links[0]),
    ]
    found = read(tmp_path / "x.jsonl", records)
    assert [(each.client, each.compared) for each in found.messages] == [
        ("ann", False),
        ("ben", True),
    ]
    records[2] = refused(3, "upstream_unavailable", "m1", "ann", links[0])
    (of_ben,) = read(tmp_path / "x.jsonl", records, clients=("ben",)).to_send()
    assert of_ben.client == "ben"


def test_a_client_that_came_back_is_told_of_what_it_said_before(tmp_path: Path) -> None:
    records = [
        sent(1, say("of ann", "m1"), client="ann", link="l1"),
        refused(2, "upstream_unavailable", "m1", "ann again"),
    ]
    assert read(tmp_path / "x.jsonl", records).to_send() == []


def test_what_greets_on_a_flat_link_is_no_answer(tmp_path: Path) -> None:
    def told(n: int, content: str) -> Record:
        text = json.dumps({"type": "message", "content": content})
        return Record(
            n=n, t=n, kind="message", direction="to_client", link="l1", type="message", data=text
        )

    ask = json.dumps({"type": "message", "content": "Why?"})
    records = [
        event(1, "open", 0, "ann"),
        sent(2, ask, t=1, client="ann", link="l1"),
        told(3, "Hello"),
        told(4, "Because."),
    ]
    (answer,) = read(tmp_path / "x.jsonl", records).answers.values()
    assert [part.payload["content"] for part in answer.parts] == ["Because."]


def test_that_a_fellow_left_does_not_excuse_a_link_that_never_answered(tmp_path: Path) -> None:
    records = [
        event(1, "open", 0),  # a link of many
        event(2, "open", 0, "ann"),
        event(3, "open", 0, "ben"),
        sent(4, say("why?", "m1"), t=1, client="ann", link="l1"),
        event(5, "close", 2, "ben"),
    ]
    (message,) = read(tmp_path / "x.jsonl", records).messages
    assert message.compared


def test_the_close_that_came_next_counts_whatever_was_closed_later(tmp_path: Path) -> None:
    records = [
        event(1, "open", 0),
        event(2, "open", 0, "ann"),
        sent(3, say("why?", "m1"), t=1, client="ann", link="l1"),
        event(4, "close", MINUTE_US - 1),  # the link fell, and came back
        event(5, "open", MINUTE_US),
        event(6, "close", 5 * MINUTE_US),
    ]
    (message,) = read(tmp_path / "x.jsonl", records).messages
    assert not message.compared
