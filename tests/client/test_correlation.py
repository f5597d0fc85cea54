"""Whose answer a message is, in every style of upstream. No socket here."""

from __future__ import annotations

import asyncio
import json
import random
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.client import correlation as correlation_module
from megabot_cli.client.answers import Answer, PendingAnswer
from megabot_cli.client.correlation import Correlation
from megabot_cli.client.received import Received
from megabot_cli.errors import (
    BadData,
    ConnectionLost,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    UpstreamRefused,
)
from megabot_cli.protocol.envelope import peek

_ids = count(1)


@pytest.fixture(autouse=True)
def short_afterwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation_module, "AFTERWORD_S", 0.05)


def message(kind: str, payload: Any, **metadata: Any) -> Received:
    fields: dict[str, Any] = {"id": f"up_{next(_ids)}", "type": kind, "payload": payload}
    if metadata:
        fields["metadata"] = metadata
    return plain(json.dumps(fields))


def plain(text: str) -> Received:
    return Received(text, peek(text), 0.0)


def chunk(text: str, sequence: int, *, last: bool = False, stream: str | None = None) -> Any:
    payload: dict[str, Any] = {"chunk": text, "is_complete": last, "sequence": sequence}
    return payload if stream is None else {**payload, "stream_id": stream}


class Talk:
    """Questions that were sent, and what the upstream says to them."""

    def __init__(self) -> None:
        self.questions = Correlation()
        self.questions.session_id = "sess_1"
        self.now = 100.0

    def ask(self, message_id: str, kind: str = "chat_send", **more: Any) -> PendingAnswer:
        pending = PendingAnswer(message_id, kind, more.pop("payload", None), **more)
        self.questions.open(pending)
        pending.sent(self.now)
        return pending

    def hear(self, kind: str, payload: Any, **metadata: Any) -> None:
        self.now += 1.0
        self.questions.see(message(kind, payload, **metadata), self.now)

    async def answer(self, pending: PendingAnswer, limit_s: float = 2.0) -> Answer:
        async with asyncio.timeout(limit_s):
            try:
                await self.questions.follow(pending, None)
            finally:
                self.questions.close(pending)
        return pending.answer()

    def is_waiting(self, pending: PendingAnswer) -> bool:
        return pending.phase.name == "WAITING"


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
    assert (answer.text, answer.holes, answer.finished) == ("ac", 1, False)


async def test_a_chat_receive_makes_up_for_a_hole(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("a", 1), reply_to="q")
    talk.hear("chat_stream", chunk("c", 3, last=True), reply_to="q")
    talk.hear("chat_receive", {"content": "abc"}, reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.holes, answer.finished) == ("abc", 1, True)


async def test_chunks_that_come_twice_or_out_of_order_are_put_right(talk: Talk) -> None:
    question = talk.ask("q")
    for sequence, text in ((2, "b"), (1, "a"), (2, "b"), (1, "a")):
        talk.hear("chat_stream", chunk(text, sequence), reply_to="q")
    talk.hear("chat_stream", chunk("c", 3, last=True), reply_to="q")
    answer = await talk.answer(question)
    assert (answer.text, answer.chunks, answer.finished) == ("abc", 3, True)


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


# Other types of message


async def test_a_tool_result_answers_its_tool_call(talk: Talk) -> None:
    call = talk.ask("q", "tool_call", payload={"execution_id": "exec_1"})
    talk.hear("status_update", {"status": "running"}, reply_to="q")
    talk.hear("tool_result", {"execution_id": "exec_2", "status": "completed"})
    assert talk.is_waiting(call)
    talk.hear("tool_result", {"execution_id": "exec_1", "status": "completed", "result": 7})
    answer = await talk.answer(call)
    assert json.loads(answer.messages[-1])["payload"]["result"] == 7


async def test_whatever_names_another_message_answers_it(talk: Talk) -> None:
    join = talk.ask("q", "session_join", payload={"session_id": "ws"})
    talk.hear("notification", {"type": "info", "title": "hello"})
    assert talk.is_waiting(join)
    talk.hear("status_update", {"status": "joined"}, reply_to="q")
    assert len((await talk.answer(join)).messages) == 1


async def test_until_a_type_ends_the_wait_with_its_first_message(talk: Talk) -> None:
    question = talk.ask("q", until="status_update")
    talk.hear("chat_receive", {"content": "not this"}, reply_to="q")
    talk.hear("status_update", {"status": "theirs"}, reply_to="other")
    assert talk.is_waiting(question)
    talk.hear("status_update", {"status": "done"})
    answer = await talk.answer(question)
    assert [json.loads(text)["type"] for text in answer.messages] == [
        "chat_receive",
        "status_update",
    ]


async def test_until_a_function_sees_everything_even_what_is_no_envelope(talk: Talk) -> None:
    question = talk.ask("q", until=lambda received: received.text == "pong")
    talk.questions.see(plain("ping"), 1.0)
    talk.questions.see(Received(b"pong", None, 0.0), 1.0)
    assert talk.is_waiting(question)
    talk.questions.see(plain("pong"), 1.0)
    assert (await talk.answer(question)).messages == ("pong",)


async def test_answers_in_a_batch_are_found(talk: Talk) -> None:
    question = talk.ask("q")
    inner = [
        json.loads(message("chat_stream", chunk("in ", 1), reply_to="q").text),
        json.loads(message("chat_stream", chunk("a batch", 2, last=True), reply_to="q").text),
    ]
    talk.hear("batch", {"messages": inner})
    assert (await talk.answer(question)).text == "in a batch"


# Refusals and nonsense


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, BadData),
        (401, NotAuthenticated),
        (403, NotPermitted),
        (413, BadData),
        (429, RateLimited),
        (503, UpstreamRefused),
        (None, UpstreamRefused),
    ],
)
async def test_a_connection_error_for_our_message_is_raised(
    talk: Talk, code: int | None, kind: type[MegabotError]
) -> None:
    question = talk.ask("q")
    payload = {"error": "why", "message": "because", "code": code}
    talk.hear("connection_error", payload, reply_to="q")
    with pytest.raises(kind, match="because"):
        await talk.answer(question)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("chat_stream", {"chunk": 7, "is_complete": False, "sequence": 1}),
        ("chat_stream", {"chunk": "x", "is_complete": "no", "sequence": 1}),
        ("chat_stream", {"chunk": "x", "is_complete": True, "sequence": 0}),
        ("chat_stream", {"chunk": "x"}),
        ("chat_stream", None),
        ("chat_receive", {"content": None}),
        ("chat_receive", {}),
        ("chat_receive", "text"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_a_clear_error(
    talk: Talk, kind: str, payload: Any
) -> None:
    question = talk.ask("q")
    talk.hear(kind, payload, reply_to="q")
    with pytest.raises(UpstreamRefused, match=f"{kind} that cannot be read"):
        await talk.answer(question)


async def test_an_answer_without_end_is_let_go(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megabot_cli.client.answers.MOST_CHARACTERS", 10_000)
    question = talk.ask("q")
    for sequence in range(1, 100):
        talk.hear("chat_stream", chunk("x" * 1000, sequence), reply_to="q")
    with pytest.raises(UpstreamRefused, match="longer than"):
        await talk.answer(question)


async def test_an_answer_that_is_whole_stays_so_when_the_connection_falls(talk: Talk) -> None:
    question, other = talk.ask("q"), talk.ask("other")
    talk.hear("chat_stream", chunk("whole", 1, last=True), reply_to="q")
    talk.questions.fail_all(ConnectionLost("gone"))
    assert (await talk.answer(question)).text == "whole"
    with pytest.raises(ConnectionLost, match="gone"):
        await talk.answer(other)


async def test_a_new_session_fails_what_was_sent_and_not_what_waits(talk: Talk) -> None:
    sent, waiting = talk.ask("sent"), PendingAnswer("waiting", "chat_send")
    talk.questions.open(waiting)
    talk.questions.session_gone()
    with pytest.raises(ConnectionLost, match="session was lost"):
        await talk.answer(sent)
    assert talk.is_waiting(waiting)


# The text as it becomes known


async def shown(talk: Talk, question: PendingAnswer) -> list[str]:
    parts: list[str] = []
    await talk.questions.follow(question, parts.append)
    return parts


async def test_text_is_shown_in_order_and_once(talk: Talk) -> None:
    question = talk.ask("q")
    parts: list[str] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(talk.questions.follow(question, parts.append))
        for sequence, text in ((1, "a"), (3, "c"), (2, "b"), (2, "b")):
            talk.hear("chat_stream", chunk(text, sequence), reply_to="q")
            await asyncio.sleep(0)
        talk.hear("chat_stream", chunk("", 4, last=True), reply_to="q")
        talk.hear("chat_receive", {"content": "abc"}, reply_to="q")
    assert parts == ["a", "bc"]


async def test_a_chat_receive_shows_only_what_no_chunk_has(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_stream", chunk("Hel", 1), reply_to="q")
    talk.hear("chat_receive", {"content": "Hello"}, reply_to="q")
    assert "".join(await shown(talk, question)) == "Hello"


async def test_a_chat_receive_alone_is_shown_whole(talk: Talk) -> None:
    question = talk.ask("q")
    talk.hear("chat_receive", {"content": "Hello"}, reply_to="q")
    assert await shown(talk, question) == ["Hello"]


@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_any_order_of_any_chunks_shows_the_text_once(
    chunks: list[str], order: random.Random, afterword: bool
) -> None:
    async def play() -> None:
        talk = Talk()
        question = talk.ask("q")
        places = list(range(len(chunks) - 1)) * 2  # each comes twice
        order.shuffle(places)
        parts: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(talk.questions.follow(question, parts.append))
            for place in places:
                talk.hear("chat_stream", chunk(chunks[place], place + 1), reply_to="q")
                await asyncio.sleep(0)
            last = chunk(chunks[-1], len(chunks), last=True)
            talk.hear("chat_stream", last, reply_to="q")
            if afterword:
                talk.hear("chat_receive", {"content": "".join(chunks)}, reply_to="q")
        assert "".join(parts) == "".join(chunks)
        assert question.answer().text == "".join(chunks)
        assert question.answer().finished

    correlation_module.AFTERWORD_S = 0.0
    asyncio.run(play())


@given(st.lists(st.text() | st.binary(), max_size=20))
def test_any_messages_raise_nothing_unforeseen(texts: list[str | bytes]) -> None:
    async def play() -> None:
        talk = Talk()
        talk.ask("q")
        for text in texts:
            talk.questions.see(Received(text, peek(text), 0.0), 1.0)

    asyncio.run(play())
