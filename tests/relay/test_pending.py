"""Requests are known until their answer is whole."""

from __future__ import annotations

import json

from megabot_cli.protocol.envelope import Head, peek
from megabot_cli.relay.pending import PendingRequests


def message(kind: str, reply_to: str | None = None, **payload: object) -> tuple[Head, bytes]:
    text = json.dumps(
        {
            "id": "m",
            "type": kind,
            "payload": payload,
            "metadata": {"reply_to": reply_to} if reply_to else {},
        }
    ).encode()
    head = peek(text)
    assert head is not None
    return head, text


def test_a_stream_gives_the_time_to_its_first_chunk_and_to_its_end() -> None:
    pending = PendingRequests()
    pending.sent("a", "client_1", 10.0)
    first = pending.answered(*message("chat_stream", "a", is_complete=False), 10.5)
    more = pending.answered(*message("chat_stream", "a", is_complete=False), 11.0)
    last = pending.answered(*message("chat_stream", "a", is_complete=True), 12.0)
    assert first is not None
    assert (first.first_chunk_s, first.reply_s) == (0.5, None)
    assert more is not None
    assert (more.first_chunk_s, more.reply_s) == (None, None)
    assert last is not None
    assert last.reply_s == 2.0
    assert pending.answered(*message("chat_receive", "a"), 12.1) is None
    assert len(pending) == 0


def test_an_upstream_without_reply_to_answers_the_oldest_first() -> None:
    pending = PendingRequests()
    pending.sent("a", "client_1", 1.0)
    pending.sent("b", "client_2", 2.0)
    pending.answered(*message("chat_receive"), 3.0)
    assert pending.ids() == ["b"]


def test_news_that_answers_nobody_settles_nothing() -> None:
    pending = PendingRequests()
    pending.sent("a", "client_1", 1.0)
    assert pending.answered(*message("notification"), 2.0) is None
    assert pending.answered(*message("chat_receive", "other"), 2.0) is None
    assert pending.ids() == ["a"]


def test_an_upstream_that_never_answers_fills_no_memory() -> None:
    pending = PendingRequests(limit=3)
    for number in range(10):
        pending.sent(str(number), "client_1", float(number))
    assert pending.ids() == ["7", "8", "9"]


def test_taking_some_leaves_the_others() -> None:
    pending = PendingRequests()
    for name in ("a", "b", "c"):
        pending.sent(name, "client_1", 1.0)
    assert [request.message_id for request in pending.take(["b", "gone"])] == ["b"]
    assert [request.message_id for request in pending.take_all()] == ["a", "c"]
