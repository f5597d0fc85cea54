"""openai:URL: the deltas of any endpoint of that API become chunks of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog

from megabot_cli.gateway.assistants.chat_completions import ChatCompletionsAssistant
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, Message
from tests.support.chat_model import DONE, ChatModel, delta, running_model

KEY = "sk-canary-0123456789"


@pytest.fixture
async def model() -> AsyncIterator[ChatModel]:
    async with running_model() as model:
        yield model


async def house_with(open_house: OpenHouse, model: ChatModel, *, silence_s: float = 5.0) -> House:
    assistant = ChatCompletionsAssistant(model.url, model="small", key=KEY, silence_s=silence_s)
    return await open_house(assistant=assistant)


async def answered(open_house: OpenHouse, model: ChatModel) -> list[Message]:
    house = await house_with(open_house, model)
    async with house.connected() as peer:
        return await peer.answer(await peer.say("Hello"))


async def refused(open_house: OpenHouse, model: ChatModel, *, silence_s: float = 5.0) -> str:
    house = await house_with(open_house, model, silence_s=silence_s)
    with structlog.testing.capture_logs() as logged:
        async with house.connected() as peer:
            error = await peer.until("connection_error", await peer.say("Hello"))
    assert (error["payload"]["error"], error["payload"]["code"]) == ("assistant_failed", 500)
    assert KEY not in f"{logged} {error}"
    assert model.url not in str(error)
    return str(error["payload"]["message"])


async def test_its_deltas_are_our_chunks(open_house: OpenHouse, model: ChatModel) -> None:
    messages = await answered(open_house, model)
    chunks = [one["payload"]["chunk"] for one in messages if one["type"] == "chat_stream"]
    assert chunks == ["Good", " day", ""]
    assert messages[-1]["payload"]["content"] == "Good day"


async def test_it_is_asked_with_the_key_and_the_conversation(
    open_house: OpenHouse, model: ChatModel
) -> None:
    house = await house_with(open_house, model)
    async with house.connected() as peer:
        await peer.answer(await peer.say("one"))
        await peer.answer(await peer.say("two"))
    headers, body = model.requests[1]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "small",
        "stream": True,
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "Good day"},
            {"role": "user", "content": "two"},
        ],
    }


async def test_without_a_key_no_authorization_is_sent(
    open_house: OpenHouse, model: ChatModel
) -> None:
    house = await open_house(gateway={"assistant": f"openai:{model.url}/"})
    async with house.connected() as peer:
        await peer.answer(await peer.say("Hello"))
    assert "Authorization" not in model.requests[0][0]


async def test_events_may_come_in_any_pieces(open_house: OpenHouse, model: ChatModel) -> None:
    stream = delta("Grüße") + delta(", 世界") + DONE
    model.writes = [stream[at : at + 1] for at in range(len(stream))]
    assert (await answered(open_house, model))[-1]["payload"]["content"] == "Grüße, 世界"


async def test_comments_other_fields_and_empty_deltas_say_nothing(
    open_house: OpenHouse, model: ChatModel
) -> None:
    role = b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\r\n\r\n'
    usage = b'data: {"choices":[],"usage":{"total_tokens":9}}\n\n'
    model.writes = [b": keep-alive\n\n", b"event: chunk\nid: 1\n", role, delta("a"), usage, DONE]
    assert (await answered(open_house, model))[-1]["payload"]["content"] == "a"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "does not accept the key"),
        (403, "does not accept the key"),
        (404, "is not there"),
        (429, "asked too often"),
        (500, "refuses with 500"),
        (302, "refuses with 302"),
    ],
)
async def test_a_refusal_is_told(
    open_house: OpenHouse, model: ChatModel, status: int, words: str
) -> None:
    model.status = status
    assert words in await refused(open_house, model)


async def test_an_error_in_the_middle_ends_the_answer(
    open_house: OpenHouse, model: ChatModel
) -> None:
    model.writes = [delta("Good"), b'data: {"error":{"message":"overloaded"}}\n\n']
    assert await refused(open_house, model) == "The model failed in the middle of its answer."


@pytest.mark.parametrize("line", [b"data: {\n\n", b"data: []\n\n", b"data: " + b"[" * 5000 + b"\n"])
async def test_what_is_no_answer_is_refused(
    open_house: OpenHouse, model: ChatModel, line: bytes
) -> None:
    model.writes = [line]
    assert await refused(open_house, model) == "The model sent something that is no answer."


async def test_a_line_without_end_is_refused(open_house: OpenHouse, model: ChatModel) -> None:
    model.writes = [b"data: " + b"x" * 3_000_000]
    assert await refused(open_house, model) == "The model sent a line that is too long."


async def test_an_answer_without_its_end_is_no_whole_answer(
    open_house: OpenHouse, model: ChatModel
) -> None:
    model.writes = [delta("Good")]
    assert await refused(open_house, model) == "The model's answer ended before it was whole."


async def test_a_cut_connection_is_told(open_house: OpenHouse, model: ChatModel) -> None:
    model.writes, model.cut = [delta("Good")], True
    assert await refused(open_house, model) == "The model cannot be reached, or hung up."


async def test_a_model_that_falls_silent_is_left(open_house: OpenHouse, model: ChatModel) -> None:
    model.writes, model.hang = [delta("Good")], True
    words = await refused(open_house, model, silence_s=0.3)
    assert words == "The model did not answer in time."


async def test_a_model_that_is_not_there_is_told(open_house: OpenHouse) -> None:
    house = await open_house(gateway={"assistant": "openai:http://127.0.0.1:9/v1"})
    async with house.connected() as peer:
        error = await peer.until("connection_error", await peer.say("Hello"))
    assert error["payload"]["message"] == "The model cannot be reached, or hung up."


async def test_it_is_hung_up_when_the_only_client_says_goodbye(
    open_house: OpenHouse, model: ChatModel
) -> None:
    model.writes, model.hang = [delta("Good")], True
    house = await house_with(open_house, model)
    async with house.connected() as peer:
        await peer.say("Hello")
        await peer.until("chat_stream")
    await model.left.wait()


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(ChatCompletionsAssistant("http://h/v1", model="m", key=KEY))
