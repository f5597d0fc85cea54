"""What waits for a slow client gets shorter and says the same."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.relay.corner import with_corner
from megabot_cli.relay.merging import Item, merge


def item(seq: int, kind: str, payload: dict[str, Any], **metadata: Any) -> Item:
    message = {
        "id": f"m{seq}",
        "type": kind,
        "payload": payload,
        "timestamp": 1,
        "metadata": metadata,
    }
    return Item(json.dumps(message).encode(), seq)


def chunk(seq: int, text: str, *, to: str = "q", last: bool = False, sequence: int = 1) -> Item:
    payload = {"chunk": text, "is_complete": last, "sequence": sequence}
    return item(seq, "chat_stream", payload, reply_to=to)


def read(merged: Item) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(merged.data)
    return message


def test_chunks_of_one_stream_become_one() -> None:
    merged = merge(
        [chunk(1, "a", sequence=1), chunk(2, "b", sequence=2), chunk(3, "c", sequence=3)]
    )
    assert [each.seq for each in merged] == [3]
    message = read(merged[0])
    assert message["payload"] == {"chunk": "abc", "is_complete": False, "sequence": 3}
    assert message["metadata"] == {"reply_to": "q", "merged": 3}


def test_chunks_merged_before_are_counted() -> None:
    once = merge([chunk(1, "a"), chunk(2, "b")])
    assert read(merge([*once, chunk(3, "c")])[0])["metadata"]["merged"] == 3


def test_the_last_chunk_stays_the_last() -> None:
    merged = merge([chunk(1, "a"), chunk(2, "", last=True), chunk(3, "next")])
    assert [read(each)["payload"]["is_complete"] for each in merged] == [True, False]


def test_the_newest_status_of_a_task_and_the_newest_cursor_of_a_user_stay() -> None:
    items = [
        item(1, "status_update", {"status": "working", "task_id": "t1"}),
        item(
            2, "collaborative_action", {"action": "cursor_move", "session_id": "s", "user_id": "u"}
        ),
        item(3, "status_update", {"status": "working", "task_id": "t2"}),
        item(4, "status_update", {"status": "done", "task_id": "t1"}),
        item(
            5, "collaborative_action", {"action": "cursor_move", "session_id": "s", "user_id": "u"}
        ),
    ]
    assert [read(each)["id"] for each in merge(items)] == ["m3", "m4", "m5"]


def test_only_the_end_of_a_merged_run_moves_the_cursor() -> None:
    """A client cut off between the two would else miss what was joined into the later one."""
    items = [
        chunk(4, "a"),
        chunk(5, "x", to="p"),
        chunk(6, "b"),
        item(7, "notification", {"title": "n"}),
    ]
    merged = merge(items, sent_seq=3)
    assert [(read(each)["id"], each.seq) for each in merged] == [("m5", 3), ("m6", 6), ("m7", 7)]


def test_the_cursor_that_a_client_reads_says_the_same() -> None:
    def marked(plain: Item) -> Item:
        return Item(with_corner(plain.data, {"cursor": f"epoch_1:{plain.seq}"}), plain.seq)

    items = [marked(chunk(4, "a")), marked(chunk(5, "x", to="p")), marked(chunk(6, "b"))]
    cursors = [read(each)["metadata"]["megabot"]["cursor"] for each in merge(items, sent_seq=3)]
    assert cursors == ["epoch_1:3", "epoch_1:6"]


def test_nothing_moves_past_what_cannot_be_merged() -> None:
    items = [chunk(1, "a"), item(2, "chat_receive", {"content": "a"}), chunk(3, "b")]
    assert merge(items) == items


def test_everything_else_stays_as_it_is() -> None:
    items = [
        item(1, "notification", {"title": "x"}),
        item(2, "status_update", {"status": "no task"}),
        item(3, "collaborative_action", {"action": "text_edit", "session_id": "s", "user_id": "u"}),
        item(4, "collaborative_action", {"action": "text_edit", "session_id": "s", "user_id": "u"}),
        Item(b"\x00\x01", 5, binary=True),
        Item(b"no JSON", 6),
        Item(b'{"id":"1","type":"chat_stream","payload":3}', 7),
        item(8, "chat_stream", {"chunk": 5}),
        item(9, "tool_call", {"execution_id": "e"}),
    ]
    assert merge(items) == items


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("chunk"), st.sampled_from("ab"), st.text(max_size=3), st.booleans()),
        st.tuples(st.just("note"), st.just(""), st.text(max_size=3), st.just(False)),
    ),
    max_size=40,
)


@given(STEPS)
def test_nothing_that_was_said_is_lost(steps: list[tuple[str, str, str, bool]]) -> None:
    items = [
        chunk(seq, text, to=stream, last=last)
        if kind == "chunk"
        else item(seq, "notification", {"title": text})
        for seq, (kind, stream, text, last) in enumerate(steps, 1)
    ]
    merged = merge(items)
    assert said(merged) == said(items)
    assert [each.seq for each in merged] == sorted(each.seq for each in merged)


def said(items: list[Item]) -> tuple[dict[str, list[str]], list[str]]:
    """The whole answers per stream, cut at their ends, and the notes in order."""
    answers: dict[str, list[str]] = defaultdict(lambda: [""])
    notes = []
    for each in items:
        message = read(each)
        if message["type"] == "notification":
            notes.append(message["payload"]["title"])
            continue
        texts = answers[message["metadata"]["reply_to"]]
        texts[-1] += message["payload"]["chunk"]
        if message["payload"]["is_complete"]:
            texts.append("")
    return dict(answers), notes


def test_notices_take_nothing_back_of_what_a_client_has() -> None:
    """They have no number. Between messages or at the end of a run, what comes next counts from
    the last one that had."""
    news = item(0, "status_update", {"status": "reconnecting"})
    refusal = item(0, "connection_error", {"error": "x"})
    merged = merge(
        [chunk(5, "a"), news, refusal, chunk(6, "b"), chunk(7, "c"), item(8, "note", {})]
    )
    assert [each.seq for each in merged] == [5, 0, 0, 7, 8]
    two_runs = [chunk(5, "a"), news, refusal, chunk(6, "b"), chunk(7, "c"), chunk(8, "d", to="r")]
    assert [each.seq for each in merge(two_runs, sent_seq=4)] == [5, 0, 0, 5, 8]
    no_run = [item(5, "note", {}), refusal, chunk(6, "b"), chunk(7, "c"), chunk(8, "d", to="r")]
    assert [each.seq for each in merge(no_run, sent_seq=4)] == [5, 0, 5, 8]
    notices = [news, refusal, *no_run[2:]]
    assert [each.seq for each in merge(notices, sent_seq=4)] == [0, 0, 4, 8]


def test_a_run_is_complete_with_its_last_message_also_where_that_is_a_notice() -> None:
    news = item(0, "status_update", {"status": "reconnecting"})
    merged = merge([chunk(5, "a"), chunk(6, "b"), news, item(7, "note", {})], sent_seq=4)
    assert [each.seq for each in merged] == [4, 6, 7]
    assert read(merged[1])["payload"] == {"status": "reconnecting"}
    older = item(0, "status_update", {"status": "reconnecting", "task_id": "t"})
    newer = item(0, "status_update", {"status": "connected", "task_id": "t"})
    assert [each.seq for each in merge([older, newer], sent_seq=4)] == [0]
