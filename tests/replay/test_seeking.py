"""A replay of a part reads that part, and finds there what reading all would have found."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.replay.conversation import Conversation, read_conversation
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.storage.recording_reader import open_recording
from tests.replay.texts import answer, say

QUESTIONS = 9_000
BAD = b'{"n":"not a record"}\n'


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clients in turn, each answered once after the next has asked. A bad line early on."""
    lines = [encode_header(Header(recording="rec_1", tool="megabot 0.3.0"))]
    n = 0
    for question in range(QUESTIONS):
        n += 2
        asking, before = f"link_{question % 3}", f"link_{(question - 1) % 3}"
        # Replies that name nobody: whose they are is told by what was asked before.
        replied = answer(f"to {question - 1}", reply_to=None)
        lines += [
            encode_record(
                Record(
                    n=n - 1, t=n * 1000, kind="message", direction="to_upstream",
                    link=asking, id=f"m{question}", data=say(f"{question}", f"m{question}"),
                )
            ),
            encode_record(
                Record(n=n, t=n * 1000, kind="message", direction="to_client", link=before,
                       data=replied)
            ),
        ]  # fmt: skip
        if question == 3:
            lines.append(BAD)
    path = tmp_path_factory.mktemp("seeking") / "rec.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def read(path: Path, **options: object) -> Conversation:
    selection = options.pop("selection", Selection(begin=Place("number", 2 * 8_000)))
    assert isinstance(selection, Selection)
    with open_recording(path) as reader:
        return read_conversation(reader, ReplayOptions(selection=selection, **options))  # type: ignore[arg-type]


def questions(conversation: Conversation) -> list[str]:
    return [json.loads(each.text)["payload"]["content"] for each in conversation.to_send()]


def answers(conversation: Conversation) -> list[list[str]]:
    return [
        [part.payload["content"] for part in conversation.answers[each.place].parts]
        for each in conversation.to_send()
    ]


def test_what_stands_before_the_place_is_not_read(path: Path) -> None:
    assert "is no record" in " ".join(read(path, selection=Selection(limit=1)).warnings)
    for place in Place("number", 2 * 8_000), Place("offset", 2 * 8_000_000):
        found = read(path, selection=Selection(begin=place))
        assert found.warnings == []
        assert questions(found)[-1] == str(QUESTIONS - 1)


def test_replies_that_name_nobody_stay_with_what_was_asked_before_the_place(path: Path) -> None:
    found = read(path)
    assert answers(found)[:2] == [["to 8000"], ["to 8001"]]
    assert questions(found)[:2] == ["8000", "8001"]


def test_context_is_sought_by_itself_and_is_all_that_was_said(path: Path) -> None:
    found = read(path, with_context=True, limit=1)
    assert [each.lane for each in found.to_send()] == ["link_2"]
    context = [json.loads(each.text)["payload"]["content"] for each in found.context()]
    assert context == [str(question) for question in range(2, 8_000, 3)]
    assert found.warnings == []


def test_what_cannot_be_sought_in_is_read_through_to_the_same(path: Path) -> None:
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    for more in {}, {"with_context": True, "limit": 2}:
        sought, through = read(path, **more), read(packed, **more)
        assert questions(sought) == questions(through)
        assert answers(sought) == answers(through)
        assert [each.text for each in sought.context()] == [each.text for each in through.context()]


def test_once_all_is_chosen_only_the_answers_to_it_are_looked_for(path: Path) -> None:
    until = Selection(begin=Place("number", 15_999), until=Place("number", 16_003))
    found = read(path, selection=until)
    assert answers(found) == [["to 7999"], ["to 8000"]]
    named = {lane for message in found.messages for lane in [message.lane]}
    assert named == {"link_1", "link_2"}


def test_what_answers_others_is_not_decoded_once_all_is_chosen(tmp_path: Path) -> None:
    def line(n: int, direction: str, data: object, **fields: str) -> bytes:
        named = {"n": n, "t": n, "kind": "message", "direction": direction, "link": "l", **fields}
        return json.dumps({**named, "data": data}).encode() + b"\n"

    path = tmp_path / "named.jsonl"
    path.write_bytes(
        encode_header(Header(recording="rec_1"))
        + line(1, "to_upstream", say("one", "m1"), id="m1")
        + line(2, "to_upstream", say("two", "m2"), id="m2")
        + line(3, "to_client", ["no text"], reply_to="m2")
        + line(4, "to_client", answer("to one", reply_to="m1"), reply_to="m1")
    )
    for wanted in {"limit": 1}, {"selection": Selection(until=Place("number", 2))}:
        found = read(path, **{"selection": Selection(), **wanted})
        assert (answers(found), found.warnings) == ([["to one"]], [])
    assert len(read(path, selection=Selection()).warnings) == 1


def test_a_place_behind_the_end_is_nothing_to_send(path: Path) -> None:
    found = read(path, selection=Selection(begin=Place("offset", 10**12)))
    assert (found.messages, found.warnings) == ([], [])
