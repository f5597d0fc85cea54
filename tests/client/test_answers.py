"""What makes an answer whole, wrong or shown. No socket here."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.client import correlation as correlation_module
from megabot_cli.client.answers import PendingAnswer
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
from tests.client.talk import Talk, chunk, plain


@pytest.fixture(autouse=True)
def short_afterwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation_module, "AFTERWORD_S", 0.05)


@pytest.fixture
def talk() -> Talk:
    return Talk()


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
