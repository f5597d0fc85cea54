from __future__ import annotations

import os

import pytest

from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.redaction import Redactor
from megabot_cli.replay.compare import Comparer, Comparison, Verdict
from tests.replay.texts import answer, chunk, message, refusal


def came(*texts: str) -> Answer:
    found = Answer()
    for text in texts:
        found.add(peek(text), text, 0.0)
    return found


def compare(recorded: Answer, replayed: Answer) -> Comparison:
    found = Comparer(Redactor(os.urandom(32))).compare(recorded, replayed)
    assert found is not None
    return found


def result(value: object, execution_id: str = "e1") -> str:
    payload = {"execution_id": execution_id, "status": "completed", "result": value}
    return message("tool_result", payload)


STREAMED = came(chunk("Hel", 1), chunk("lo", 2, last=True), answer("Hello"))


@pytest.mark.parametrize(
    ("recorded", "replayed"),
    [
        (STREAMED, came(chunk("Hello", 1, last=True), answer("Hello"))),
        (STREAMED, came(chunk("H", 1), chunk("ello", 2), chunk("", 3, last=True), answer("Hello"))),
        (came(result({"a": [1, "x"]}, "e1")), came(result({"a": [1, "x"]}, "e2"))),
        (
            came(message("status_update", {"status": "a"}), answer("x")),
            came(*[message("status_update", {"status": "a"})] * 3, answer("x")),
        ),
        (came(result({"b": 1, "a": 2})), came(result({"a": 2, "b": 1}))),
        (came(answer("Bearer ‹redacted:9f2c01ab›")), came(answer("Bearer abc.def"))),
        (
            came(message("x", {"timestamp": 1, "user_id": "a", "made_at": "then"})),
            came(message("x", {"timestamp": 2, "user_id": "b", "made_at": "now"})),
        ),
    ],
    ids=["chunks", "more chunks", "ids", "progress", "key order", "secrets", "times"],
)
def test_what_varies_by_itself_is_the_same(recorded: Answer, replayed: Answer) -> None:
    assert compare(recorded, replayed) == Comparison(Verdict.SAME)


@pytest.mark.parametrize(
    ("recorded", "replayed"),
    [
        (STREAMED, came(chunk("Good day", 1, last=True), answer("Good day"))),
        (came(result({"a": [1, 2]})), came(result({"a": [3.5]}))),
        (came(refusal("no")), came(refusal("never"))),
    ],
)
def test_other_words_in_the_same_form_are_the_same_shape(
    recorded: Answer, replayed: Answer
) -> None:
    found = compare(recorded, replayed)
    assert found.verdict is Verdict.SAME_SHAPE
    assert "says something else" in found.detail
    assert found.recorded != found.replayed


@pytest.mark.parametrize(
    ("recorded", "replayed", "told"),
    [
        (STREAMED, came(refusal("no")), "step 1: recorded chat_stream, now connection_error"),
        (STREAMED, came(chunk("Hello", 1, last=True)), "recorded chat_receive, now nothing more"),
        (
            came(chunk("Hello", 1, last=True)),
            STREAMED,
            "step 2: recorded nothing more, now chat_receive",
        ),
        (STREAMED, came(chunk("Hel", 1)), "chat_stream has another form"),
        (came(result({"a": 1})), came(result({"b": 1})), "tool_result has another form"),
        (came(result({"a": 1})), came(result({"a": "1"})), "tool_result has another form"),
        (came(result([1])), came(result([1, "x"])), "tool_result has another form"),
    ],
)
def test_another_form_is_different_and_the_step_is_named(
    recorded: Answer, replayed: Answer, told: str
) -> None:
    found = compare(recorded, replayed)
    assert found.verdict is Verdict.DIFFERENT
    assert told in found.detail


def test_chunks_that_were_not_recorded_may_have_said_anything() -> None:
    holed = came(chunk("Hel", 1), chunk("world", 3, last=True), answer("Hello, world"))
    whole = came(chunk("Hello, world", 1, last=True), answer("Hello, world"))
    assert compare(holed, whole).verdict is Verdict.SAME
    other = came(chunk("Hello, moon", 1, last=True), answer("Hello, world"))
    assert compare(holed, other).verdict is Verdict.SAME_SHAPE
    assert compare(whole, holed).verdict is Verdict.SAME_SHAPE


def test_no_answer_is_missing_and_one_where_none_was_is_extra() -> None:
    assert compare(STREAMED, Answer()).verdict is Verdict.MISSING
    assert compare(Answer(), STREAMED).verdict is Verdict.EXTRA
    assert Comparer(Redactor(b"k")).compare(Answer(), Answer()) is None


def test_a_recorded_answer_that_breaks_off_is_compared_as_far_as_it_goes() -> None:
    torn = came(chunk("Hel", 1))
    assert compare(torn, STREAMED).verdict is Verdict.SAME
    other = came(chunk("Good", 1, last=True), answer("Good"))
    assert compare(torn, other).verdict is Verdict.SAME_SHAPE


def test_an_excerpt_is_short_and_holds_no_secret() -> None:
    found = compare(came(answer("x" * 1000)), came(answer("Bearer c4n4ry" + "y" * 1000)))
    assert len(found.recorded) < 200
    assert "c4n4ry" not in found.replayed


def test_binary_answers_are_the_same_byte_for_byte_alone() -> None:
    def binary(payload: bytes) -> Answer:
        came = Answer()
        came.add(None, payload, 1.0)
        return came

    comparer = Comparer(Redactor(os.urandom(32)))
    same = comparer.compare(binary(b"\x00\x01"), binary(b"\x00\x01"))
    other = comparer.compare(binary(b"\x00\x01"), binary(b"\x00\x02"))
    assert same is not None
    assert same.verdict is Verdict.SAME
    assert other is not None
    assert other.verdict is not Verdict.SAME
