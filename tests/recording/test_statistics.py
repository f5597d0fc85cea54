from __future__ import annotations

import json
import random
from typing import Any

import pytest

from megabot_cli.recording.record import Record
from megabot_cli.recording.statistics import Statistics, Summary


def asked(n: int, at_ms: float, message_id: str, client: str = "c") -> Record:
    return Record(
        n=n, t=int(at_ms * 1000), kind="message", direction="to_upstream", type="chat_send",
        id=message_id, session="s", client=client, link="l", size=100,
    )  # fmt: skip


def came(
    n: int, at_ms: float, reply_to: str | None, kind: str = "chat_stream", *, last: bool = False
) -> Record:
    data = json.dumps({"id": f"up_{n}", "type": kind, "payload": {"is_complete": last}})
    return Record(
        n=n, t=int(at_ms * 1000), kind="message", direction="to_client", type=kind, id=f"up_{n}",
        reply_to=reply_to, session="s", link="l", size=200, data=data,
    )  # fmt: skip


def summary(*records: Record) -> Summary:
    statistics = Statistics()
    for record in records:
        statistics.take(record)
    return statistics.summary()


def test_an_answer_lasts_from_its_request_to_its_first_and_its_last_message() -> None:
    found = summary(
        asked(1, 0, "m1"),
        came(2, 10, "m1"),
        asked(3, 12, "m2"),
        came(4, 20, "m1"),
        came(5, 30, "m1", "chat_receive"),
        came(6, 112, "m2", "connection_error"),
        asked(7, 200, "m3"),
    )
    assert (found.requests, found.answered, found.failed) == (3, 2, 1)
    assert found.unanswered == {"chat_send": 1}
    assert (found.first_chunk_ms.p50, found.first_chunk_ms.max) == (10.0, 100.0)
    assert (found.total_ms.p50, found.total_ms.max) == (30.0, 100.0)
    assert found.latency_histogram == [(50.0, 1), (100.0, 1)]
    assert [(slow.n, slow.whole_ms) for slow in found.slowest] == [(3, 100.0), (1, 30.0)]


def test_an_answer_that_came_before_it_was_asked_for_has_no_latency() -> None:
    found = summary(
        asked(1, 50, "m1"), came(2, 40, "m1", "chat_receive"),
        asked(3, 60, "m2"), came(4, 70, "m2"), came(5, 65, "m2", last=True),
        asked(6, 80, "m3"), came(7, 90, "m3", "connection_error"),
        asked(8, 99, "m4"), came(9, 98, "m4", "connection_error"),
    )  # fmt: skip
    assert (found.requests, found.answered, found.untimed, found.failed) == (4, 4, 3, 2)
    assert found.first_chunk_ms == found.total_ms
    assert (found.total_ms.p50, found.total_ms.max, found.total_ms.mean) == (10.0, 10.0, 10.0)
    assert found.latency_histogram == [(10.0, 1)]
    assert [slow.n for slow in found.slowest] == [6]


def test_an_answer_that_names_nobody_is_the_oldest_request_s() -> None:
    found = summary(
        asked(1, 0, "m1"),
        asked(2, 1, "m2"),
        came(3, 10, None),
        came(4, 20, None, last=True),
        came(5, 31, None, "chat_receive"),
    )
    assert (found.answered, found.total_ms.max) == (2, 30.0)
    assert found.total_ms.p50 == 20.0


def test_what_was_asked_before_the_session_was_known_is_answered_all_the_same() -> None:
    early, again = asked(1, 0, "m1"), asked(4, 20, "m2")
    early.session = None
    late = came(5, 30, "m2", last=True)
    late.link = "another link of that session"
    found = summary(early, came(2, 10, "m1"), came(3, 15, "m1", "chat_receive"), again, late)
    assert (found.answered, found.unanswered, found.total_ms.max) == (2, {}, 15.0)


def test_an_id_that_is_used_again_is_another_request() -> None:
    found = summary(
        asked(1, 0, "m"), came(2, 5, "m", "chat_receive"), asked(3, 10, "m"),
        came(4, 30, "m", last=True),
    )  # fmt: skip
    assert (found.requests, found.answered, found.total_ms.max) == (2, 2, 20.0)


def test_answers_to_requests_with_one_id_go_to_the_first_that_is_not_over() -> None:
    found = summary(
        asked(1, 0, "m"), asked(2, 1, "m"), asked(3, 2, "m"), asked(4, 3, "m"),
        came(5, 10, "m", last=True), came(6, 11, "m", "chat_receive"),
        came(7, 20, "m"), came(8, 30, "m", last=True),
        came(9, 40, "m", "chat_receive"), came(10, 50, "m", "chat_receive"),
    )  # fmt: skip
    assert (found.requests, found.answered) == (4, 3)
    assert found.unanswered == {"chat_send": 1}
    assert (found.first_chunk_ms.max, found.total_ms.max) == (48.0, 48.0)


def test_one_id_of_several_clients_is_several_requests_which_are_answered_in_turn() -> None:
    """A relay in mode `shared` sends the second when the first has been answered."""
    found = summary(
        asked(1, 0, "m", "a"), asked(2, 1, "m", "b"), asked(3, 2, "m", "d"), asked(4, 3, "m", "e"),
        came(5, 10, "m"), came(6, 30, "m", last=True), came(7, 40, "m", "chat_receive"),
        came(8, 101, "m", "chat_receive"), came(9, 202, "m", last=True), came(10, 803, "m"),
        came(11, 903, "m", "chat_receive"),
    )  # fmt: skip
    assert (found.requests, found.answered, found.unanswered) == (4, 4, {})
    assert sorted((slow.n, slow.whole_ms) for slow in found.slowest) == [
        *((1, 40.0), (2, 100.0), (3, 200.0), (4, 900.0)),
    ]
    assert found.first_chunk_ms.max == 800.0


def test_a_refusal_by_the_relay_is_for_the_client_that_it_names() -> None:
    refusal = came(3, 5, "m", "connection_error")
    refusal.kind, refusal.client = "inject", "b"
    found = summary(
        asked(1, 0, "m", "a"), asked(2, 1, "m", "b"), refusal, came(4, 50, "m", "chat_receive")
    )
    assert sorted((slow.n, slow.whole_ms) for slow in found.slowest) == [(1, 50.0), (2, 4.0)]
    assert found.failed == 1


def test_an_answer_whose_last_chunk_never_came_is_broken_off() -> None:
    found = summary(
        asked(1, 0, "m1"), came(2, 10, "m1"), came(3, 20, "m1", last=True),
        asked(4, 30, "m2"), came(5, 40, "m2"), came(6, 50, "m2"),
        asked(7, 60, "m3"), came(8, 70, "m3"), came(9, 80, "m3", "chat_receive"),
        asked(10, 90, "m4"), came(11, 91, "m4"), came(12, 95, "m4", "connection_error"),
        asked(13, 99, "m5"), asked(14, 99, "m6"), came(15, 100, "m6", "connection_error"),
    )  # fmt: skip
    assert (found.requests, found.answered, found.failed) == (6, 3, 1)
    assert (found.broken_off, found.unanswered) == ({"chat_send": 2}, {"chat_send": 1})
    assert (found.first_chunk_ms.max, found.total_ms.max) == (10.0, 20.0)
    assert [slow.n for slow in found.slowest] == [1, 7, 14]


def test_the_refusal_of_a_message_without_a_name_is_no_answer_to_another() -> None:
    broken = asked(3, 12, "")
    broken.id = broken.type = None  # no JSON
    found = summary(
        asked(1, 0, "m1"), came(2, 10, "m1"), broken, came(4, 13, None, "connection_error"),
        came(5, 20, "m1", last=True),
    )  # fmt: skip
    assert (found.requests, found.answered, found.failed) == (1, 1, 0)
    assert found.total_ms.max == 20.0


def test_requests_in_a_batch_are_requests_and_so_are_answers_in_one() -> None:
    def batch(n: int, at_ms: int, direction: str, *inner: dict[str, object]) -> Record:
        text = {"id": f"b{n}", "type": "batch", "payload": {"messages": inner}}
        return Record(
            n=n, t=at_ms * 1000, kind="message", direction=direction, type="batch", id=f"b{n}",
            session="s", link="l", data=json.dumps(text),
        )  # fmt: skip

    def message(kind: str, message_id: str, reply_to: str | None = None) -> dict[str, object]:
        metadata = {"reply_to": reply_to} if reply_to else {}
        return {"id": message_id, "type": kind, "payload": {}, "metadata": metadata}

    found = summary(
        batch(1, 0, "to_upstream", message("chat_send", "m1"), message("tool_call", "m2")),
        came(2, 10, "m1", "chat_receive"),
        batch(3, 30, "to_client", message("notification", "u1"),
              message("tool_result", "u2", "m2")),
        batch(4, 40, "to_upstream", message("chat_send", "m3")),
    )  # fmt: skip
    assert (found.requests, found.answered, found.unanswered) == (3, 2, {"chat_send": 1})
    wordless = batch(1, 0, "to_upstream")
    wordless.data = None
    assert summary(wordless).requests == 0
    assert [(slow.type, slow.whole_ms) for slow in found.slowest] == [
        ("tool_call", 30.0),
        ("chat_send", 10.0),
    ]


def plain(n: int, at_ms: int, direction: str, text: str, kind: str = "message") -> Record:
    known = json.loads(text)["type"] if text[0] == "{" else None
    return Record(
        n=n, t=at_ms * 1000, kind=kind, direction=direction, type=known, link="l", data=text
    )


def test_of_flat_requests_the_one_is_answered_that_a_message_of_this_type_answers() -> None:
    found = summary(
        plain(1, 0, "to_upstream", '{"type":"message","content":"Why?"}'),
        plain(2, 1, "to_upstream", '{"type":"set_mode","mode":"fast"}'),
        plain(3, 2, "to_client", '{"type":"mode_updated","mode":"fast"}'),
        plain(4, 3, "to_client", '{"type":"message","content":"Welcome, another"}', "inject"),
        plain(5, 4, "to_client", '{"type":"status","content":"another\'s was approved"}'),
        plain(6, 100, "to_client", '{"type":"message","content":"Because."}'),
        plain(7, 110, "to_upstream", '{"type":"set_mode","mode":7}'),
        plain(8, 115, "to_client", "Error 400: $.mode: expected text"),
    )
    assert (found.requests, found.answered, found.failed) == (3, 3, 1)
    assert [(slow.n, slow.whole_ms) for slow in found.slowest] == [(1, 100.0), (7, 5.0), (2, 1.0)]


def test_what_greets_on_a_flat_link_answers_no_request() -> None:
    found = summary(
        Record(n=1, t=0, kind="open", client="c", link="l"),
        plain(2, 1, "to_upstream", '{"type":"message","content":"Why?"}'),
        plain(3, 2, "to_client", '{"type":"message","content":"Hello"}'),
        plain(4, 101, "to_client", '{"type":"message","content":"Because."}'),
    )
    assert (found.answered, found.total_ms.max) == (1, 100.0)


def test_where_a_relay_has_greeted_the_first_that_comes_is_an_answer() -> None:
    found = summary(  # of one client alone: the opening of its link is another record
        Record(n=1, t=0, kind="open", client="c", link="l"),
        plain(2, 1, "to_client", '{"type":"message","content":"Hello"}', "inject"),
        plain(3, 2, "to_upstream", '{"type":"message","content":"Why?"}'),
        plain(4, 102, "to_client", '{"type":"message","content":"Because."}'),
    )
    assert (found.answered, found.total_ms.max) == (1, 100.0)


def test_what_is_binary_answers_no_request() -> None:
    binary = came(2, 10, None, "")
    binary.id = binary.type = binary.data = None
    binary.opcode = "binary"
    found = summary(asked(1, 0, "m1"), binary)
    assert (found.answered, found.unanswered) == (0, {"chat_send": 1})


def test_a_chunk_without_its_words_may_be_the_last() -> None:
    chunk = came(2, 10, "m1")
    chunk.data = None  # `recordings sanitize --drop-payload`
    found = summary(asked(1, 0, "m1"), chunk)
    assert (found.answered, found.broken_off) == (1, {})


def test_it_counts_types_ways_sizes_gaps_closings_and_silence() -> None:
    found = summary(
        asked(1, 0, "m1"),
        came(2, 1, "m1"),
        Record(n=3, t=2000, kind="gap", lost=7, lost_bytes=70),
        Record(n=4, t=5_002_000, kind="close", code=1006),
        came(5, 5003, "m1"),
    )
    assert [(each.type, each.direction, each.messages, each.bytes) for each in found.types] == [
        ("chat_stream", "to_client", 2, 400),
        ("chat_send", "to_upstream", 1, 100),
    ]
    assert (found.to_upstream, found.to_client, found.bytes) == (1, 2, 500)
    assert (found.gaps, found.lost, found.close_codes) == (1, 7, {"1006": 1})
    assert (found.longest_silence_s, found.longest_silence_at_s) == (5.0, 0.002)
    assert (found.sessions, found.clients, found.links) == (1, 1, 1)
    assert found.size_bytes.max == 200


@pytest.mark.parametrize("length_s", [0, 1, 60, 86_400])
def test_the_line_over_time_counts_every_message_in_few_parts(length_s: int) -> None:
    chance = random.Random(length_s)
    times = sorted(chance.uniform(0, length_s * 1000) for _ in range(500))
    found = summary(*(came(n, at, None) for n, at in enumerate(times, 1)))
    assert sum(found.timeline) == 500
    assert 1 <= len(found.timeline) <= 121
    assert found.bucket_s * len(found.timeline) >= found.duration_s


def test_no_rate_on_the_whole_is_higher_than_the_highest() -> None:
    for length_ms in (0, 0.005, 0.7, 1.1, 1000):
        found = summary(*(asked(n, n * length_ms / 4, f"m{n}") for n in range(1, 6)))
        assert found.messages_per_s <= found.peak_per_s


def test_nothing_comes_to_nothing() -> None:
    found = summary()
    assert (found.messages, found.requests, found.timeline, found.types) == (0, 0, [0], [])


def test_a_flat_answer_is_timed_for_the_client_it_is_for_and_a_greeting_answers_nobody() -> None:
    def flat(n: int, at_ms: float, client: str, **fields: Any) -> Record:
        fields = {"kind": "message", "direction": "to_client", **fields}
        return Record(n=n, t=int(at_ms * 1000), type="message", link="l", client=client, **fields)

    found = summary(
        flat(1, 0, "ann", direction="to_upstream"),
        flat(2, 5, "bob", kind="inject"),  # the upstream's greeting, handed on
        flat(3, 10, "bob", direction="to_upstream"),
        flat(4, 110, "bob"),
        flat(5, 300, "ann"),
    )
    assert (found.requests, found.answered) == (2, 2)
    assert (found.total_ms.p50, found.total_ms.max) == (100.0, 300.0)
