"""Whose answer a message is, in every style of upstream. No socket here."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from megabot_cli.client import correlation as correlation_module
from megabot_cli.client.answers import PendingAnswer
from megabot_cli.errors import (
    BadData,
    RateLimited,
)
from tests.client.talk import Talk, chunk


@pytest.fixture(autouse=True)
def short_afterwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation_module, "AFTERWORD_S", 0.05)


@pytest.fixture
def talk() -> Talk:
    return Talk()


# Upstreams that name the message they answer


async def test_chunks_and_their_chat_receive_make_one_answer(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("Hel", 1), reply_to="q")
    talk.hear("chat_stream", chunk("lo", 2, last=True), reply_to="q")
    talk.hear("chat_receive", {"content": "Hello"}, reply_to="q")
    answer = await talk.answer(question)
    assert answer.text == "Hello"
    assert (answer.reply_to, answer.chunks, answer.holes, answer.finished) == ("q", 2, 0, True)
    assert (answer.first_chunk_s, answer.total_s) == (1.0, 3.0)
    assert [json.loads(text)["type"] for text in answer.messages] == [
        "chat_stream",
        "chat_stream",
        "chat_receive",
    ]
    assert answer.message_ids == tuple(json.loads(text)["id"] for text in answer.messages)


async def test_a_stream_that_nothing_follows_is_a_whole_answer(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("Hello", 1, last=True), reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.finished, len(answer.messages)) == ("Hello", True, 1)


async def test_a_chat_receive_alone_is_a_whole_answer(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_receive", {"content": "Hello"}, reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.chunks, answer.first_chunk_s) == ("Hello", 0, None)


async def test_answers_that_are_mixed_up_are_told_apart(talk: Talk) -> None:
    questions = {name: talk.ask(name) for name in ("a", "b", "c")}
    script = [(name, part) for name in questions for part in range(20)]
    random.Random(7).shuffle(script)
    for name, part in script:
        talk.hear("chat_stream", chunk(f"{name}{part} ", part + 1), reply_to=name)
    for name in ("b", "c", "a"):
        talk.hear("chat_stream", chunk("", 21, last=True), reply_to=name)
    for name, question in questions.items():
        answer = await talk.answer(question)
        assert answer.text == "".join(f"{name}{part} " for part in range(20))


async def test_a_reply_to_somebody_else_is_not_ours(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("for them", 1, last=True), reply_to="other")
    talk.hear("chat_receive", {"content": "for them"}, reply_to="other")
    talk.hear("connection_error", {"error": "no", "code": 400}, reply_to="other")
    assert talk.is_waiting(question)


async def test_once_an_upstream_names_replies_what_names_none_is_nobodys(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("Hel", 1), reply_to="q")
    talk.hear("chat_stream", chunk("a stranger's", 2, last=True))
    talk.hear("chat_receive", {"content": "good morning, all"})
    assert talk.is_waiting(question)
    talk.hear("chat_stream", chunk("lo", 2, last=True), reply_to="q")
    assert (await talk.answer(question)).text == "Hello"


async def test_a_hole_that_is_never_filled_is_told(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("a", 1), reply_to="q")
    talk.hear("chat_stream", chunk("c", 3, last=True), reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.holes, answer.missing, answer.finished) == ("ac", 1, 1, False)


async def test_a_chat_receive_makes_up_for_a_hole(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("a", 1), reply_to="q")
    talk.hear("chat_stream", chunk("c", 3, last=True), reply_to="q")
    talk.hear("chat_receive", {"content": "abc"}, reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.holes, answer.missing, answer.finished) == ("abc", 1, 0, True)


async def test_chunks_that_come_twice_or_out_of_order_are_put_right(talk: Talk) -> None:
    question = talk.ask("q")
    for sequence, text in ((2, "b"), (1, "a"), (2, "b"), (1, "a")):
        talk.hear("chat_stream", chunk(text, sequence), reply_to="q")
    talk.hear("chat_stream", chunk("c", 3, last=True), reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.chunks, answer.finished) == ("abc", 3, True)
    assert (answer.holes, answer.repeats, answer.missing) == (1, 2, 0)


async def test_chunks_that_a_relay_joined_are_none_that_did_not_come(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("a", 1), reply_to="q")
    talk.hear("chat_stream", chunk("bcd", 4), reply_to="q", merged=3)
    assert question.take_ready() == "abcd"
    talk.hear("chat_stream", chunk("e", 5, last=True), reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.holes, answer.missing, answer.finished) == ("abcde", 0, 0, True)


# Upstreams that name nothing: the specification's own examples


async def test_one_current_stream_answers_the_oldest_question(talk: Talk) -> None:
    first, second = talk.ask("a"), talk.ask("b")
    talk.hear("chat_stream", chunk("to ", 1))
    talk.hear("chat_stream", chunk("a", 2, last=True))
    talk.hear("chat_stream", chunk("to ", 1))
    talk.hear("chat_stream", chunk("b", 2, last=True))
    assert (await talk.answer(first)).text == "to a"
    assert (await talk.answer(second)).text == "to b"


async def test_whole_answers_go_to_the_questions_in_their_order(talk: Talk) -> None:
    first, second = talk.ask("a"), talk.ask("b")
    talk.hear("chat_receive", {"content": "to a", "sender": "assistant"})
    talk.hear("chat_receive", {"content": "to b", "sender": "assistant"})
    assert (await talk.answer(first)).text == "to a"
    assert (await talk.answer(second)).text == "to b"


async def test_a_chat_receive_that_repeats_the_stream_belongs_to_it(talk: Talk) -> None:
    first, second = talk.ask("a"), talk.ask("b")
    talk.hear("chat_stream", chunk("one", 1, last=True))
    talk.hear("chat_receive", {"content": "one"})
    talk.hear("chat_stream", chunk("two", 1, last=True))
    talk.hear("chat_receive", {"content": "two"})
    answers = [await talk.answer(first), await talk.answer(second)]
    assert [(answer.text, len(answer.messages)) for answer in answers] == [("one", 2), ("two", 2)]


async def test_a_repetition_that_comes_late_is_not_the_next_answer(talk: Talk) -> None:
    first = talk.ask("a")
    talk.hear("chat_stream", chunk("one", 1, last=True))
    assert (await talk.answer(first)).text == "one"  # nothing followed in time
    second = talk.ask("b")
    talk.hear("chat_receive", {"content": "one"})
    assert talk.is_waiting(second)
    talk.hear("chat_stream", chunk("two", 1, last=True))
    talk.hear("chat_receive", {"content": "two"})
    answer = await talk.answer(second)
    assert (answer.text, len(answer.messages)) == ("two", 2)


async def test_streams_with_a_name_are_told_apart_by_it(talk: Talk) -> None:
    first, second = talk.ask("a"), talk.ask("b")
    talk.hear("chat_stream", chunk("A1", 1, stream="x"))
    talk.hear("chat_stream", chunk("B1", 1, stream="y"))
    talk.hear("chat_stream", chunk("A2", 2, last=True, stream="x"))
    talk.hear("chat_stream", chunk("B2", 2, last=True, stream="y"))
    assert (await talk.answer(first)).text == "A1A2"
    assert (await talk.answer(second)).text == "B1B2"


async def test_an_answer_of_another_session_is_not_ours(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_receive", {"content": "theirs"}, session_id="sess_2")
    assert talk.is_waiting(question)
    talk.hear("chat_receive", {"content": "ours"}, session_id="sess_1")
    assert (await talk.answer(question)).text == "ours"


async def test_what_a_fellow_user_says_is_no_answer(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_receive", {"content": "hello there", "sender": "user"})
    assert talk.is_waiting(question)


async def test_nothing_answers_what_was_not_sent_yet(talk: Talk) -> None:
    waiting = PendingAnswer("q", "chat_send")
    talk.questions.open(waiting)
    talk.hear("chat_receive", {"content": "good morning"})
    assert talk.is_waiting(waiting)


async def test_an_error_that_names_nothing_is_the_oldest_questions(talk: Talk) -> None:
    first, second = talk.ask("a"), talk.ask("b")
    talk.hear("connection_error", {"error": "invalid", "code": 400})
    with pytest.raises(BadData):
        await talk.answer(first)
    assert talk.is_waiting(second)


@pytest.mark.parametrize("code", [401, 503])
async def test_an_error_about_the_connection_is_no_answer(talk: Talk, code: int) -> None:
    question = talk.ask("q")
    talk.hear("connection_error", {"error": "away", "code": code})
    assert talk.is_waiting(question)


async def test_a_relays_refusal_by_name_does_not_make_the_upstream_one_that_names(
    talk: Talk,
) -> None:
    refused, question = talk.ask("a"), talk.ask("b")
    talk.hear("connection_error", {"error": "rate_limited", "code": 429}, reply_to="a")
    with pytest.raises(RateLimited):
        await talk.answer(refused)
    talk.hear("chat_receive", {"content": "unnamed"})
    assert (await talk.answer(question)).text == "unnamed"


# How long a stream waits for its chat_receive


async def test_an_upstream_that_sends_no_chat_receive_is_waited_for_once(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        question = talk.ask(f"q{number}")
        talk.hear("chat_stream", chunk("x", 1, last=True), reply_to=f"q{number}")
        await talk.answer(question)
        monkeypatch.setattr(correlation_module, "AFTERWORD_S", 3600.0)


async def test_a_chat_receive_that_comes_late_is_waited_for_the_next_time(talk: Talk) -> None:
    first = talk.ask("a")
    talk.hear("chat_stream", chunk("x", 1, last=True), reply_to="a")
    await talk.answer(first)
    talk.hear("chat_receive", {"content": "x"}, reply_to="a")
    second = talk.ask("b")
    talk.hear("chat_stream", chunk("y", 1, last=True), reply_to="b")
    async with asyncio.TaskGroup() as group:
        following = group.create_task(talk.answer(second))
        await asyncio.sleep(0)
        talk.hear("chat_receive", {"content": "y"}, reply_to="b")
    assert len(following.result().messages) == 2
