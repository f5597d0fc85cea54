"""`MegaBotClient` as a program reads messages and asks questions."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from megabot_cli.client import Answer, ClientEvent, MegaBotClient, Received
from megabot_cli.errors import (
    ConnectionLost,
    RateLimited,
    TimedOut,
    UpstreamRefused,
)
from tests.client.conversations import client_of, echo
from tests.support.upstream import Connection, ScriptedUpstream

# Receiving


async def test_every_message_is_iterated_over_exactly_as_it_came() -> None:
    texts = [
        '{"type":"a",  "id":"1"}',
        "not json",
        "[1]",
        '{"id":"2","type":"b","payload":{"x":1}}',
    ]

    async def script(connection: Connection) -> None:
        await connection.greet()
        for text in texts:
            await connection.send_text(text)
        await connection.send_bytes(b"\x00\xff")
        await connection.close(1000)

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        found = [received async for received in client]
    assert found[0].head is not None
    assert found[0].head.type == "connection_established"
    assert [received.text for received in found[1:]] == [*texts, b"\x00\xff"]
    assert [received.head is None for received in found[1:]] == [False, True, True, False, True]
    assert found[4].payload() == {"x": 1}
    assert [received.payload() for received in (found[2], found[3], found[5])] == [None] * 3
    assert all(abs(received.at - time.time()) < 60 for received in found)


async def test_messages_that_came_before_the_iteration_are_not_lost() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        await connection.send("chat_receive", {"content": "early"}, reply_to=question["id"])
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        answer = await client.ask("hello", timeout_s=5)
        async with asyncio.timeout(5):
            messages = aiter(client)
            assert (await anext(messages)).payload()["session_id"] == client.session_id
            assert (await anext(messages)).text == answer.messages[0]


async def test_iterating_ends_when_the_client_is_closed_elsewhere() -> None:
    async with ScriptedUpstream() as upstream, client_of(upstream) as client:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_all(client))
            await asyncio.sleep(0)
            await client.close()
        assert len(reading.result()) == 1


async def _all(client: MegaBotClient) -> list[Received]:
    return [received async for received in client]


async def test_nobody_reading_neither_blocks_answers_nor_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        for _ in range(10_500):
            await connection.send_text("noise")
        await echo_one(connection)

    events: list[ClientEvent] = []
    async with (
        ScriptedUpstream(script) as upstream,
        client_of(upstream, on_event=events.append) as client,
    ):
        assert (await client.ask("still there?", timeout_s=20)).text == "yes"
        assert client.missed > 500
        await anext(aiter(client))
    gaps = [event.missed for event in events if event.kind == "dropped"]
    assert gaps == [client.missed]


async def echo_one(connection: Connection) -> None:
    question = await connection.receive()
    await connection.send("chat_receive", {"content": "yes"}, reply_to=question["id"])
    await connection.until_gone()


# Asking


async def test_an_answer_streams_as_it_comes() -> None:
    parts: list[str] = []
    async with ScriptedUpstream(echo) as upstream, client_of(upstream) as client:
        answer = await client.ask("Hello MegaBot!", on_chunk=parts.append, platform="web")
    assert isinstance(answer, Answer)
    assert answer.text == "".join(parts) == "Hello MegaBot!"
    assert (answer.chunks, answer.finished, len(answer.messages)) == (2, True, 3)
    assert answer.first_chunk_s is not None
    assert 0 <= answer.first_chunk_s <= answer.total_s < 60


async def test_many_questions_at_once_beside_an_iteration_each_get_their_answer() -> None:
    async with (
        ScriptedUpstream(echo) as upstream,
        client_of(upstream) as client,
        asyncio.TaskGroup() as group,
    ):
        reading = group.create_task(_all(client))
        asking = [
            group.create_task(client.ask(f"question {number}", timeout_s=20))
            for number in range(50)
        ]
        await asyncio.wait(asking)
        await client.close()
    assert [task.result().text for task in asking] == [f"question {n}" for n in range(50)]
    assert len(reading.result()) == 1 + 50 * 3


async def test_an_upstream_in_the_style_of_the_specification_is_understood() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        while True:
            question = await connection.receive()
            await connection.stream("You said: ", question["payload"]["content"])

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        for text in ("one", "two", "three"):
            assert (await client.ask(text, timeout_s=20)).text == f"You said: {text}"


async def test_time_that_runs_out_is_said_so_and_the_next_question_is_untouched() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        first = await connection.receive()
        await connection.stream("to the first", whole=False, reply_to=first["id"])
        second = await connection.receive()
        await connection.stream("late", first=2, reply_to=first["id"])
        await connection.send("chat_receive", {"content": "second"}, reply_to=second["id"])
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        with pytest.raises(TimedOut, match=r"0\.2 s"):
            await client.ask("first", timeout_s=0.2)
        assert (await client.ask("second", timeout_s=20)).text == "second"


async def test_a_refusal_of_a_question_is_raised_and_the_connection_stays() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        refusal = {"error": "rate_limited", "message": "Slow down", "code": 429}
        await connection.send("connection_error", refusal, reply_to=question["id"])
        await echo_one(connection)

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        with pytest.raises(RateLimited, match="Slow down"):
            await client.ask("first")
        assert (await client.ask("second", timeout_s=20)).text == "yes"


async def test_an_answer_that_cannot_be_read_is_a_clear_error() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        await connection.send("chat_stream", {"chunk": 7}, reply_to=question["id"])
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        with pytest.raises(UpstreamRefused, match="cannot be read"):
            await client.ask("hello")


async def test_a_tool_call_is_answered_by_its_result() -> None:
    async def script(connection: Connection) -> None:
        await connection.greet()
        call = await connection.receive()
        result = {"execution_id": call["payload"]["execution_id"], "status": "completed"}
        await connection.send("tool_result", result)
        await connection.until_gone()

    async with ScriptedUpstream(script) as upstream, client_of(upstream) as client:
        payload = {"tool_name": "run_tests", "parameters": {}, "execution_id": "exec_456"}
        answer = await client.request("tool_call", payload, timeout_s=20)
    assert json.loads(answer.messages[0])["payload"]["status"] == "completed"


async def test_what_on_chunk_raises_is_raised_by_the_question_alone() -> None:
    def refuse(text: str) -> None:
        raise BrokenPipeError(text)

    async with ScriptedUpstream(echo) as upstream, client_of(upstream) as client:
        with pytest.raises(BrokenPipeError):
            await client.ask("hello", on_chunk=refuse)
        assert (await client.ask("again", timeout_s=20)).text == "again"


async def test_a_question_under_way_ends_when_the_client_is_closed() -> None:
    async with ScriptedUpstream() as upstream, client_of(upstream) as client:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_outcome(client.ask("hello")))
            await asyncio.sleep(0)
            await client.close()
        assert isinstance(asking.result(), ConnectionLost)
        with pytest.raises(ConnectionLost, match="closed"):
            await client.send("custom", {})


async def _outcome(asking: Any) -> BaseException | None:
    try:
        await asking
    except Exception as error:
        return error
    return None
