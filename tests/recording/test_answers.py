from __future__ import annotations

import json

import pytest

from megabot_cli.recording.answers import Answer
from megabot_cli.recording.correlator import Correlator
from megabot_cli.storage.kept_texts import KeptTexts
from tests.replay.texts import answer, chunk, message, refusal, say


def asked(*questions: str) -> Correlator:
    """Questions sent as m1, m2 …"""
    correlator = Correlator()
    for place, question in enumerate(questions):
        message_id = f"m{place + 1}"
        correlator.sent(place, message_id, say(question, message_id))
    return correlator


def heard(correlator: Correlator, *texts: str | bytes) -> None:
    for at, text in enumerate(texts):
        correlator.came(text, float(at))


def shape(answer: Answer) -> list[str | None]:
    return [part.type for part in answer.parts]


def texts_of(answer: Answer) -> list[str]:
    return [part.stream.text for part in answer.parts if part.stream is not None]


def test_replies_go_to_the_message_they_name() -> None:
    correlator = asked("a", "b")
    heard(
        correlator,
        chunk("B", 1, reply_to="m2"),
        chunk("A", 1, last=True, reply_to="m1"),
        chunk("b", 2, last=True, reply_to="m2"),
        answer("Bb", reply_to="m2"),
        answer("A", reply_to="m1"),
    )
    first, second = correlator.answers[0], correlator.answers[1]
    assert shape(first) == shape(second) == ["chat_stream", "chat_receive"]
    assert (texts_of(first), texts_of(second)) == (["A"], ["Bb"])
    assert first.ended
    assert second.is_whole
    assert (second.messages, second.first_at, second.last_at) == (3, 0.0, 3.0)


def test_of_messages_with_one_id_the_first_without_its_whole_answer_gets_the_reply() -> None:
    correlator = Correlator()
    for place in (0, 1, 2):
        correlator.sent(place, "m1", say("asked by three", "m1"))
    heard(
        correlator,
        answer("one", reply_to="m1"),
        chunk("t", 1, reply_to="m1"),
        chunk("wo", 2, last=True, reply_to="m1"),
        answer("three", reply_to="m1"),
        answer("three again", reply_to="m1"),
    )
    assert [shape(correlator.answers[place]) for place in (0, 1, 2)] == [
        ["chat_receive"],
        ["chat_stream"],
        ["chat_receive", "chat_receive"],
    ]
    assert correlator.place_of("m1") == 2


def test_streams_of_two_messages_with_one_id_are_told_apart_by_their_own() -> None:
    correlator = Correlator()
    for place in (0, 1):
        correlator.sent(place, "m1", say("asked by two", "m1"))

    def piece(stream: str, text: str, sequence: int, *, last: bool = False) -> str:
        payload = {"chunk": text, "sequence": sequence, "is_complete": last, "stream_id": stream}
        return message("chat_stream", payload, reply_to="m1")

    heard(
        correlator,
        piece("s1", "o", 1),
        piece("s2", "t", 1),
        piece("s2", "wo", 2, last=True),
        piece("s1", "ne", 2, last=True),
    )
    assert [texts_of(correlator.answers[place]) for place in (0, 1)] == [["one"], ["two"]]


def test_of_messages_with_one_id_those_are_answered_whose_client_is_named() -> None:
    correlator = Correlator()
    for place, client in enumerate(("ann", "ben", "ben")):
        correlator.sent(place, "m1", say("asked by two", "m1"), client)
    for words, client in (("b1", "ben"), ("a", "ann"), ("b2", "ben"), ("more", "somebody")):
        correlator.came(answer(words, reply_to="m1"), 1.0, client=client)
    found = [[part.payload["content"] for part in correlator.answers[n].parts] for n in range(3)]
    assert found == [["a"], ["b1"], ["b2", "more"]]


def test_one_id_for_all_messages_costs_no_look_at_all_of_them_for_each_answer() -> None:
    correlator = Correlator()
    for place in range(500):
        correlator.sent(place, "m1", say("again", "m1"))
        heard(correlator, answer(str(place), reply_to="m1"))
    found = [correlator.answers[place].parts[0].payload["content"] for place in range(500)]
    assert found == [str(place) for place in range(500)]
    assert len(correlator._shared["m1"]) <= 2
    for place in range(500, 3000):  # which nobody answers
        correlator.sent(place, "m1", say("again", "m1"))
    assert len(correlator._shared["m1"]) <= 1000


def test_ids_in_a_batch_may_be_used_again_in_the_next() -> None:
    correlator = Correlator()
    batch = json.dumps(
        {"id": "b", "type": "batch",
         "payload": {"messages": [json.loads(say("one", "m1")), json.loads(say("two", "m2"))]}}
    )  # fmt: skip
    for place in (0, 1):
        correlator.sent(place, f"b{place}", batch)
    heard(
        correlator,
        chunk("a", 1, last=True, reply_to="m1"), answer("a", reply_to="m1"),
    )  # fmt: skip
    assert not correlator.has_ended(0)
    heard(correlator, answer("b", reply_to="m2"))
    assert correlator.has_ended(0)
    heard(correlator, answer("c", reply_to="m1"), answer("d", reply_to="m2"))
    assert shape(correlator.answers[0]) == ["chat_stream", "chat_receive", "chat_receive"]
    assert [part.payload["content"] for part in correlator.answers[1].parts] == ["c", "d"]


def test_an_execution_id_that_is_used_again_names_the_later_message() -> None:
    correlator = Correlator()
    call = message("tool_call", {"tool_name": "t", "execution_id": "e"}, message_id="m1")
    result = message("tool_result", {"execution_id": "e", "status": "completed"}, reply_to="m1")
    for place in (0, 1):
        correlator.sent(place, "m1", call)
        heard(correlator, result)
    assert shape(correlator.answers[0]) == shape(correlator.answers[1]) == ["tool_result"]


def test_a_whole_answer_to_one_of_two_with_one_id_goes_where_it_was_streamed() -> None:
    correlator = Correlator()
    for place in (0, 1):
        correlator.sent(place, "m1", say("asked by two", "m1"))
    for words in ("one", "two"):
        heard(correlator, chunk(words, 1, last=True, reply_to="m1"), answer(words, reply_to="m1"))
    for place, words in enumerate(("one", "two")):
        assert shape(correlator.answers[place]) == ["chat_stream", "chat_receive"]
        assert texts_of(correlator.answers[place]) == [words]


def test_a_reply_to_somebody_else_belongs_to_nobody_here() -> None:
    correlator = asked("a")
    assert correlator.came(answer("x", reply_to="other"), 0.0) == []


def test_an_execution_id_names_the_exchange() -> None:
    correlator = asked("a")
    call = message("tool_call", {"tool_name": "t", "parameters": {}, "execution_id": "e1"})
    correlator.sent(1, "m2", call)
    heard(correlator, message("tool_result", {"execution_id": "e1", "status": "completed"}))
    assert shape(correlator.answers[0]) == []
    assert shape(correlator.answers[1]) == ["tool_result"]


def test_an_id_first_seen_in_a_reply_names_the_exchange_from_then_on() -> None:
    correlator = asked("a", "b")
    heard(
        correlator,
        message("status_update", {"status": "busy", "task_id": "t1"}, reply_to="m2"),
        message("status_update", {"status": "done", "task_id": "t1"}),
    )
    assert shape(correlator.answers[1]) == ["status_update", "status_update"]


def test_an_error_that_names_nothing_is_the_broken_message_s() -> None:
    correlator = asked("a", "b")
    correlator.sent(2, None, "{bad")
    heard(correlator, chunk("A", 1, reply_to="m1"), refusal("invalid"), refusal("busy"))
    assert [shape(each) for each in correlator.answers.values()] == [
        ["chat_stream", "connection_error"],
        [],
        ["connection_error"],
    ]


def test_without_any_id_the_oldest_message_that_waits_is_answered() -> None:
    correlator = asked("a", "b")
    heard(
        correlator,
        chunk("A", 1),
        chunk("a", 2, last=True),
        answer("Aa"),  # says again what was streamed: still the first's
        chunk("B", 1, last=True),
        answer("B"),
    )
    assert texts_of(correlator.answers[0]) == ["Aa"]
    assert texts_of(correlator.answers[1]) == ["B"]
    assert shape(correlator.answers[0]) == shape(correlator.answers[1])


def test_another_dialect_is_answered_first_come_first_served() -> None:
    correlator = Correlator()
    for place in range(2):
        correlator.sent(place, None, '{"type":"message","content":"hi"}')
    heard(correlator, '{"type":"message","content":"one"}', "two", b"\xff\x00")
    assert shape(correlator.answers[0]) == ["message"]
    assert shape(correlator.answers[1]) == [None, None]


def test_a_flat_refusal_goes_to_what_nothing_else_would_answer() -> None:
    correlator = Correlator()
    for place, kind in enumerate(("message", "bogus", "set_mode")):
        message_id = "same" if kind == "message" else None  # which nobody reads there
        correlator.sent(place, message_id, json.dumps({"id": message_id, "type": kind}))
    heard(correlator, "Error 400: bogus", '{"type":"mode_updated"}', '{"type":"message"}')
    shapes = [shape(correlator.answers[place]) for place in range(3)]
    assert shapes == [["message"], [None], ["mode_updated"]]


def test_a_flat_message_that_nobody_here_asked_for_is_nobody_s() -> None:
    correlator = Correlator()
    correlator.sent(0, None, '{"type":"message","content":"Why?"}')
    assert correlator.came('{"type":"status","content":"another\'s was approved"}', 1.0) == []
    ((place, _),) = correlator.came('{"type":"message","content":"Because."}', 2.0)
    assert place == 0
    assert shape(correlator.answers[0]) == ["message"]


def test_an_answer_that_is_the_same_to_the_letter_holds_the_other_s_parts() -> None:
    then, now = asked("a"), asked("a")
    for correlator, sizes in ((then, (1, 2)), (now, (2, 1))):
        first, second = ("Aaa"[: sizes[0]], "Aaa"[sizes[0] :])
        heard(
            correlator,
            chunk(first, 1, reply_to="m1"),
            chunk(second, 2, last=True, reply_to="m1"),
            answer("Aaa", reply_to="m1"),
        )
    mine, other = now.answers[0], then.answers[0]
    mine.share_words(other)
    assert [a is b for a, b in zip(mine.parts, other.parts, strict=True)] == [True, True]
    heard(now, answer("and more", reply_to="m1"))
    assert (shape(mine)[2:], shape(other)[2:]) == (["chat_receive"], [])
    assert mine.messages == 4


@pytest.mark.parametrize(
    "texts",
    [
        [answer("B", reply_to="m1")],
        [chunk("A", 1, reply_to="m1")],
        [answer("A", reply_to="m1"), answer("A", reply_to="m1")],
        [message("notification", {"content": "A", "sender": "assistant"}, reply_to="m1")],
    ],
)
def test_what_is_another_answer_keeps_its_own_parts(texts: list[str]) -> None:
    then, now = asked("a"), asked("a")
    heard(then, answer("A", reply_to="m1"))
    heard(now, *texts)
    parts = now.answers[0].parts
    now.answers[0].share_words(then.answers[0])
    assert now.answers[0].parts is parts


def test_what_nobody_asked_for_belongs_to_nothing() -> None:
    correlator = asked("a")
    greeting = message("connection_established", {"session_id": "s"})
    news = message("notification", {"type": "info", "title": "x"})
    assert correlator.came(greeting, 0.0) == correlator.came(news, 0.0) == []


def test_nothing_sent_nothing_answered() -> None:
    assert Correlator().came(answer("x"), 0.0) == []


def test_a_batch_is_taken_apart_both_ways() -> None:
    correlator = Correlator()
    inner = f"[{say('a', 'm1')},{say('b', 'm2')}]"
    batch = f'{{"id":"b1","type":"batch","payload":{{"messages":{inner}}}}}'
    correlator.sent(0, "b1", batch)
    replies = f"[{answer('A', reply_to='m1')},{refusal('no', reply_to='m2')}]"
    grown = correlator.came(f'{{"id":"x","type":"batch","payload":{{"messages":{replies}}}}}', 0.0)
    assert [place for place, _ in grown] == [0, 0]
    assert shape(correlator.answers[0]) == ["chat_receive", "connection_error"]


def test_a_chunk_that_is_none_is_a_message_like_any_other() -> None:
    correlator = asked("a")
    heard(correlator, message("chat_stream", {"chunk": 5}, reply_to="m1"))
    assert shape(correlator.answers[0]) == ["chat_stream"]
    assert correlator.answers[0].is_whole


def test_what_is_put_aside_says_what_it_said() -> None:
    correlator, kept = asked("a"), KeptTexts(0)
    info = {"type": "info", "n": [1, 2.5, None]}
    heard(
        correlator,
        message("notification", info, message_id="n1", reply_to="m1"),
        chunk("be", 2, reply_to="m1"),
        chunk("gun", 4, last=True, reply_to="m1"),
        chunk("unfinished", 1, reply_to="m1"),
    )
    news, told, unfinished = correlator.answers[0].parts
    letters = news.letters()
    for part in (news, told, unfinished):
        part.put_aside(kept)
    assert kept.get(1) == "begun"
    assert (news.named, news.letters(), news.raw) == ("n1", letters, None)
    assert news.payload == news.payload == info
    for part, text, missing in ((told, "begun", 2), (unfinished, "unfinished", 0)):
        assert part.stream is not None
        assert (part.stream.text, part.stream.missing) == (text, missing)
        assert part.stream.finished is part.is_whole is (part is told)
        assert not part.stream.lacks_its_beginning
    with pytest.raises(IndexError):
        kept.get(2)


def test_a_payload_that_was_read_before_is_put_aside_too() -> None:
    part, kept = Answer().add(None, "Error 5: no", 0.0), KeptTexts(0)
    part.put_aside(kept)
    assert (kept.get(0), part.payload, part.named) == (b'[null,"Error 5: no"]', "Error 5: no", None)
