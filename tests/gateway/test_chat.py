"""chat_send is answered by chat_stream chunks and one chat_receive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import pytest

from megabot_cli.gateway.assistants.interface import Turn
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, Message, replied_to


def chunks_of(messages: list[Message]) -> list[Message]:
    return [one["payload"] for one in messages if one["type"] == "chat_stream"]


async def test_an_answer_comes_as_chunks_and_then_whole(house: House) -> None:
    async with house.connected() as peer:
        messages = await peer.answer(await peer.say("Hello MegaBot!"))
    assert [one["type"] for one in messages[:-1]] == ["chat_stream"] * (len(messages) - 1)
    whole = messages[-1]["payload"]
    assert "".join(chunk["chunk"] for chunk in chunks_of(messages)) == whole["content"]
    assert "Hello MegaBot!" in whole["content"]
    assert (whole["sender"], whole["platform"]) == ("assistant", "megabot")
    assert whole["timestamp"] == pytest.approx(time.time(), abs=5)


async def test_chunks_are_numbered_from_1_and_only_the_last_is_complete(house: House) -> None:
    async with house.connected() as peer:
        chunks = chunks_of(await peer.answer(await peer.say("Hello MegaBot!")))
    assert [chunk["sequence"] for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert [chunk["is_complete"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_every_message_of_an_answer_names_what_it_answers_and_the_session(
    house: House,
) -> None:
    async with house.connected() as peer:
        await peer.send("chat_send", {"content": "Hello"}, "my-own-id")
        messages = await peer.answer("my-own-id")
        assert {replied_to(one) for one in messages} == {"my-own-id"}
        assert {one["metadata"]["session_id"] for one in messages} == {peer.session_id}
        assert len({one["id"] for one in messages}) == len(messages)
        assert all(one["id"].startswith("msg_") for one in messages)


async def test_the_same_text_has_the_same_answer(house: House) -> None:
    async with house.connected() as one, house.connected() as other:
        first = await one.answer(await one.say("Tell me"))
        second = await one.answer(await one.say("Tell me"))
        third = await other.answer(await other.say("Tell me"))
    assert chunks_of(first) == chunks_of(second) == chunks_of(third)


async def test_questions_are_answered_one_after_another_in_order(house: House) -> None:
    async with house.connected() as peer:
        asked = [await peer.say(f"question {n}") for n in range(30)]
        await peer.answer(asked[-1])
    answered = [replied_to(one) for one in peer.received if "metadata" in one]
    assert sorted(set(answered), key=answered.index) == asked
    assert answered == sorted(answered, key=lambda reply_to: asked.index(str(reply_to)))


async def test_the_pace_is_the_settings(open_house: OpenHouse) -> None:
    house = await open_house(gateway={"latency_s": 0.1, "chunk_delay_s": 0.01})
    async with house.connected() as peer:
        began = time.monotonic()
        asked = await peer.say("one two three")
        await peer.until("chat_stream", asked)
        first = time.monotonic() - began
        chunks = len(chunks_of(await peer.answer(asked))) - 1
        whole = time.monotonic() - began
    assert first >= 0.1
    assert whole >= 0.1 + 0.01 * chunks


async def test_the_message_as_the_specification_shows_it_is_understood(house: House) -> None:
    text = (
        '{"id":"msg_125","type":"chat_send","payload":{"content":"Hello MegaBot!","platform":'
        '"web","attachments":[]},"metadata":{"user_id":"user_789","session_id":"sess_456"}}'
    )
    async with house.connected() as peer:
        await peer.send_text(text)
        assert "Hello MegaBot!" in (await peer.answer("msg_125"))[-1]["payload"]["content"]


async def test_the_longest_content_is_answered(house: House) -> None:
    async with house.connected() as peer:
        await peer.answer(await peer.say("\u00e9\U0001f600 " * 2500))


class Remembering:
    """Answers with what was said before, and fails when told to."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        yield "before: "
        if text == "fail":
            raise RuntimeError("the model is out of order")
        for turn in history:
            yield f"{turn.sender}={turn.content};"


async def test_an_assistant_is_given_the_conversation_so_far(open_house: OpenHouse) -> None:
    house = await open_house(assistant=Remembering())
    async with house.connected() as peer, house.connected() as stranger:
        await peer.answer(await peer.say("one"))
        second = await peer.answer(await peer.say("two"))
        assert second[-1]["payload"]["content"] == "before: user=one;assistant=before: ;"
        apart = await stranger.answer(await stranger.say("one"))
        assert apart[-1]["payload"]["content"] == "before: "


async def test_an_assistant_that_fails_is_told_and_the_next_question_answered(
    open_house: OpenHouse,
) -> None:
    house = await open_house(assistant=Remembering())
    async with house.connected() as peer:
        asked = await peer.say("fail")
        refusal = await peer.until("connection_error", asked)
        assert refusal["payload"]["code"] == 500
        assert refusal["payload"]["error"] == "assistant_failed"
        assert "out of order" not in refusal["payload"]["message"]
        await peer.answer(await peer.say("and now?"))


class Patient:
    """Thinks for ever about some things."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        if text == "hard":
            await asyncio.Event().wait()
        yield "easy"


async def test_no_session_waits_for_the_answers_of_another(open_house: OpenHouse) -> None:
    house = await open_house(assistant=Patient())
    async with house.connected() as one, house.connected() as other:
        await one.say("hard")
        await other.answer(await other.say("simple"))


class Endless:
    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        while True:
            yield "\x00" * 999


async def test_an_answer_without_end_is_cut_to_what_a_message_holds(open_house: OpenHouse) -> None:
    house = await open_house(assistant=Endless())
    async with house.connected() as peer:
        messages = await peer.answer(await peer.say("go on"))
    assert messages[-1]["payload"]["content"] == "\x00" * 100_000
    assert messages[-2]["payload"]["is_complete"]
