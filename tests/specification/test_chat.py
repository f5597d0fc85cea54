"""Live chat: both sides talk at once, and what is attached is heard of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from megabot_cli.gateway.assistants.interface import Turn
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import DEADLINE_S, House, Message, Peer, replied_to
from tests.gateway.test_sessions import Stepwise


class Listening:
    """Says back what it heard, in one piece."""

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        yield text


async def answer_to(peer: Peer, payload: Message) -> str:
    sent = await peer.send("chat_send", payload)
    return str((await peer.answer(sent))[-1]["payload"]["content"])


async def test_both_sides_talk_at_once(open_house: OpenHouse) -> None:
    assistant = Stepwise()
    house = await open_house(assistant=assistant)
    async with house.connected() as peer:
        asked = await peer.say("a long story")
        assistant.say("once ")
        await peer.until("chat_stream", asked)
        call = {"tool_name": "echo", "parameters": {}, "execution_id": "exec_1"}
        called = await peer.send("tool_call", call)
        await peer.until("tool_result", called)  # while the answer is still under way
        assistant.say("upon", None)
        assert (await peer.answer(asked))[-1]["payload"]["content"] == "once upon"


async def test_joined_chunks_are_the_whole_answer(house: House) -> None:
    async with house.connected() as peer:
        answer = await peer.answer(await peer.say("one two three four five"))
    chunks = [one["payload"]["chunk"] for one in answer if one["type"] == "chat_stream"]
    assert len(chunks) > 5
    assert "".join(chunks) == answer[-1]["payload"]["content"]


async def test_an_answer_under_way_ends_when_the_client_says_goodbye(
    open_house: OpenHouse,
) -> None:
    assistant = Stepwise()
    house = await open_house(assistant=assistant)
    async with house.connected() as peer:
        asked = await peer.say("a long story")
        assistant.say("once ")
        await peer.until("chat_stream", asked)
    async with asyncio.timeout(DEADLINE_S):
        while house.gateway.connection_count:  # noqa: ASYNC110 (seen from outside)
            await asyncio.sleep(0.005)
    async with house.connected(session_id=peer.session_id) as again:
        assistant.say("upon", None)
        await again.answer(await again.say("what was that?"))
        assert {replied_to(one) for one in again.received[1:]} == {"m1"}
        # What was under way was dropped: the pieces after it belong to the next question.
        chunks = [one["payload"] for one in again.received if one["type"] == "chat_stream"]
        assert [(one["chunk"], one["sequence"]) for one in chunks] == [("upon", 1), ("", 2)]


@pytest.mark.parametrize(
    ("attachments", "heard"),
    [
        (["notes.txt"], "[attached: notes.txt]"),
        ([{"name": "a.png", "url": "https://x/a"}, {"id": "file_7"}], "[attached: a.png, file_7]"),
        ([7, {"size": 3}], "something without a name, something without a name]"),
        (["data:image/png;base64,AAAA"], "data:image/png;base64]"),
        ([f"{n}.txt" for n in range(25)], "19.txt and 5 more]"),
        (["x" * 500], "x" * 100 + "…]"),
        (["two\nlines\u0007"], "[attached: two lines]"),
    ],
)
async def test_the_assistant_hears_what_was_attached(
    open_house: OpenHouse, attachments: list[Any], heard: str
) -> None:
    assistant = Listening()
    house = await open_house(assistant=assistant)
    async with house.connected() as peer:
        said = await answer_to(peer, {"content": "look", "attachments": attachments})
    assert said.startswith("look\n\n[attached: ")
    assert said.endswith(heard)


async def test_without_attachments_the_assistant_hears_the_content_alone(
    open_house: OpenHouse,
) -> None:
    house = await open_house(assistant=Listening())
    async with house.connected() as peer:
        payload = {"content": "Hello MegaBot!", "platform": "web", "attachments": []}
        assert await answer_to(peer, payload) == "Hello MegaBot!"
        assert await answer_to(peer, {"content": "Hello MegaBot!"}) == "Hello MegaBot!"


@pytest.mark.parametrize("attachments", ["notes.txt", {"name": "a"}, 1, None])
async def test_attachments_that_are_no_list_are_refused(house: House, attachments: object) -> None:
    async with house.connected() as peer:
        sent = await peer.send("chat_send", {"content": "x", "attachments": attachments})
        refusal = await peer.until("connection_error", sent)
        assert refusal["payload"]["message"].startswith("$.payload.attachments: expected array")
