"""A tool call from upstream is carried out once, whoever is connected."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from megabot_cli.relay.server import Relay
from tests.relay.conftest import Peer, Stage, enveloped, hears_nothing, until
from tests.support.upstream import Connection, ScriptedUpstream

MARKED = ("megabot.relay.v1",)


class Calling:
    """An upstream that calls a tool when told to, and keeps the results."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.results: list[dict[str, Any]] = []

    async def __call__(self, connection: Connection) -> None:
        await connection.greet()
        self.connection = connection
        while True:
            text = await connection.receive_text()
            self.results.append(
                json.loads(text if isinstance(text, str) else gzip.decompress(text))
            )

    def has(self, count: int) -> bool:
        return len(self.results) == count

    def got(self, message_id: str) -> bool:
        return any(result["id"] == message_id for result in self.results)

    async def resumed(self, relay: Relay) -> None:
        """Break the connection, and return when the relay is back in the same session."""
        before = self.connection
        assert before is not None
        await before.cut()
        await until(lambda: self.connection is not before and relay.sessions[0].link.up, 10.0)

    async def call_as(self, message_id: str, execution_id: str) -> None:
        assert self.connection is not None
        payload = {"tool_name": "ls", "execution_id": execution_id, "parameters": {}}
        await self.connection.send_text(json.dumps(enveloped("tool_call", message_id, **payload)))

    async def call(self, execution_id: str = "exec_1", **metadata: Any) -> None:
        assert self.connection is not None
        payload = {"tool_name": "ls", "execution_id": execution_id, "parameters": {}}
        await self.connection.send("tool_call", payload, **metadata)


@pytest.fixture
async def calling() -> AsyncIterator[tuple[Calling, ScriptedUpstream]]:
    script = Calling()
    async with ScriptedUpstream(script) as upstream:
        yield script, upstream


async def answer(peer: Peer, message_id: str, output: str, execution_id: str = "exec_1") -> None:
    await peer.send(
        "tool_result", message_id, execution_id=execution_id, status="completed", output=output
    )


async def test_the_oldest_executor_gets_the_call_and_others_see_it_read_only(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    plain, session = await stage.greeted(relay.url)
    watcher = await stage.connect(relay.url, session, protocols=MARKED)
    await watcher.message("connection_established")
    executor, _ = await stage.greeted(relay.url, session, role="executor")
    younger, _ = await stage.greeted(relay.url, session, role="executor")
    await script.call()
    assert (await executor.message("tool_call"))["payload"]["tool_name"] == "ls"
    seen = await watcher.message("tool_call")
    assert seen["metadata"]["megabot"]["read_only"] is True
    assert await hears_nothing(plain, 0.05)
    assert await hears_nothing(younger, 0.05)
    await answer(executor, "r1", "done")
    await until(lambda: script.results)
    assert script.results[0]["payload"]["output"] == "done"


async def test_only_the_executor_may_answer_and_only_once(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    other, _ = await stage.greeted(relay.url, session)
    await script.call()
    await executor.message("tool_call")
    await answer(other, "r0", "not mine")
    refusal = await other.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (409, "r0")
    await answer(executor, "r1", "mine")
    await answer(executor, "r2", "again")
    refusal = await executor.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (409, "r2")
    await until(lambda: script.results)
    assert [result["id"] for result in script.results] == ["r1"]


async def test_without_an_executor_all_see_it_and_the_first_answer_counts(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    first, session = await stage.greeted(relay.url)
    second, _ = await stage.greeted(relay.url, session)
    await script.call()
    await first.message("tool_call")
    await second.message("tool_call")
    await answer(second, "r1", "second was first")
    await until(lambda: script.results)
    await answer(first, "r2", "too late")
    assert (await first.message("connection_error"))["payload"]["code"] == 409
    assert [result["id"] for result in script.results] == ["r1"]


async def test_a_call_made_again_to_executors_that_came_meanwhile_is_carried_out_by_one(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    watcher, session = await stage.greeted(relay.url)
    await script.call()
    await watcher.message("tool_call")
    first, _ = await stage.greeted(relay.url, session, role="executor")
    second, _ = await stage.greeted(relay.url, session, role="executor")
    await script.call()
    await first.message("tool_call")
    assert await hears_nothing(second)
    assert await hears_nothing(watcher)


async def test_what_a_lost_executor_had_begun_is_failed_and_begun_by_nobody_else(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    younger, _ = await stage.greeted(relay.url, session, role="executor")
    await script.call()
    await executor.message("tool_call")
    await executor.socket.close()
    await until(lambda: script.results)
    payload = script.results[0]["payload"]
    assert (payload["execution_id"], payload["status"]) == ("exec_1", "failed")
    assert await hears_nothing(younger, 0.05)
    await script.call("exec_2")
    assert (await younger.message("tool_call"))["payload"]["execution_id"] == "exec_2"


async def test_a_call_repeated_after_a_resume_is_not_carried_out_again(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call()
    await executor.message("tool_call")
    await answer(executor, "r1", "done")
    await until(lambda: script.results)
    await script.call()
    await asyncio.sleep(0.05)
    await answer(executor, "r2", "done twice")
    assert (await executor.message("connection_error"))["payload"]["code"] == 409
    assert len(script.results) == 1


async def test_a_result_that_the_relay_refused_or_gave_up_has_not_answered_the_call(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, wait_messages=1, wait_s=0.3)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call()
    await executor.message("tool_call")
    await upstream.stop()
    await executor.message("status_update")
    await executor.send("my_type", "first", n=1)  # takes the one place there is
    await answer(executor, "r1", "no room")
    await answer(executor, "r2", "no room again")
    for expected in ("r1", "r2", "first"):
        refusal = await executor.message("connection_error")
        assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (503, expected)
    await answer(executor, "r3", "waits in vain")
    refusal = await executor.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (503, "r3")
    assert relay.numbers.tool_results == {"first": 3, "given_back": 3}
    await upstream.start()
    await until(lambda: relay.numbers.reconnects, limit_s=10)
    await answer(executor, "r4", "at last")
    await until(lambda: script.results)
    assert [result["id"] for result in script.results] == ["r4"]


async def test_a_result_goes_before_other_messages_that_wait(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    from megabot_cli.config.schema import LimitSettings

    script, upstream = calling
    limits = LimitSettings(messages_per_second=20, burst=1)
    relay = await stage.open_relay(upstream.url, limits=limits)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call()
    await executor.message("tool_call")
    for number in range(5):
        await executor.send("notification", f"n{number}", title="x")
    await answer(executor, "r1", "urgent")
    await until(lambda: len(script.results) == 6)
    places = [message["id"] for message in script.results]
    assert places.index("r1") <= 2
    assert [name for name in places if name != "r1"] == [f"n{number}" for number in range(5)]


async def test_a_drain_lets_a_tool_call_under_way_finish(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, drain_s=10.0)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call()
    await executor.message("tool_call")
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    assert await hears_nothing(executor, 0.3)
    await answer(executor, "r1", "done")
    assert await executor.close_code() == 1012
    await draining
    assert [result["id"] for result in script.results] == ["r1"]


async def test_what_a_drain_cannot_wait_for_is_told_as_it_is(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, drain_s=0.2)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call()
    await executor.message("tool_call")
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    assert await executor.close_code() == 1012
    await draining
    (payload,) = [result["payload"] for result in script.results]
    assert (payload["execution_id"], payload["status"]) == ("exec_1", "failed")
    assert "the relay stopped" in payload["output"]


async def test_a_call_that_nobody_is_there_for_holds_no_drain_up(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, drain_s=10.0)
    peer, _ = await stage.greeted(relay.url)
    await script.call()
    await peer.message("tool_call")
    await peer.socket.close()
    async with asyncio.timeout(3):
        await relay.drain()


async def cursor_of(peer: Peer) -> str:
    greeting = await peer.message("connection_established")
    return str(greeting["metadata"]["megabot"]["cursor"])


async def test_a_call_that_was_answered_comes_back_to_nobody_as_one_to_carry_out(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    peer, session = await stage.greeted(relay.url)
    away = await stage.connect(relay.url, session, {"client_id": "bob"}, protocols=MARKED)
    cursor = await cursor_of(away)
    await away.socket.close()
    await until(lambda: relay.gauges().clients == 1)
    for name in ("exec_1", "exec_2"):
        await script.call(name)
        await peer.message("tool_call")
    await answer(peer, "r1", "done")
    await until(lambda: script.results)
    plain = await stage.connect(relay.url, session, {"cursor": cursor})
    assert (await plain.message())["metadata"]["megabot"]["recovered"] is True
    assert (await plain.message())["payload"]["execution_id"] == "exec_2"
    assert await hears_nothing(plain, 0.05)
    back = await stage.connect(relay.url, session, {"client_id": "bob"}, protocols=MARKED)
    assert await cursor_of(back)
    seen = [(await back.message("tool_call")) for _ in range(2)]
    assert [call["payload"]["execution_id"] for call in seen] == ["exec_1", "exec_2"]
    assert [call["metadata"]["megabot"].get("read_only") for call in seen] == [True, None]


async def test_an_executor_that_comes_back_does_not_get_what_it_was_failed_for(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    wishes = {"client_id": "exe", "role": "executor"}
    executor = await stage.connect(relay.url, query=wishes, protocols=MARKED)
    cursor = await cursor_of(executor)
    await script.call()
    await executor.message("tool_call")
    await executor.socket.close()
    await until(lambda: script.results)
    session = relay.sessions[0].session_id
    again = await stage.connect(relay.url, session, {**wishes, "cursor": cursor}, protocols=MARKED)
    assert await cursor_of(again)
    assert (await again.message("tool_call"))["metadata"]["megabot"]["read_only"] is True
    plain = await stage.connect(relay.url, session, {**wishes, "cursor": cursor})
    assert await cursor_of(plain)
    assert await hears_nothing(plain, 0.05)


async def test_a_result_that_was_lost_with_the_link_is_given_again_to_an_upstream_that_asks(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    other, _ = await stage.greeted(relay.url, session)
    await script.call_as("same", "exec_1")
    await executor.message("tool_call")
    await answer(executor, "r1", "done")
    await until(lambda: script.results)
    for turn, message_id in enumerate(("same", "another", "third"), 2):
        await script.resumed(relay)
        await script.call_as(message_id, "exec_1")
        await until(functools.partial(script.has, turn))
        # Asked on a line that has brought it, there is nothing to give again.
        await script.call_as(f"{message_id} once more", "exec_1")
        await script.call_as(f"new {turn}", f"new {turn}")
        call = await executor.message("tool_call")
        assert call["payload"]["execution_id"] == f"new {turn}"
    assert all(result == script.results[0] for result in script.results)
    assert relay.numbers.tool_results["given_again"] == 3
    for _ in range(6):
        assert (await other.message())["type"] == "status_update"
    assert await hears_nothing(other, 0.05)


async def test_a_result_that_waited_in_vain_is_given_to_an_upstream_that_asks_again(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, wait_s=0.2)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call_as("same", "exec_1")
    await executor.message("tool_call")
    before = script.connection
    await upstream.stop()
    await executor.message("status_update")
    await answer(executor, "r1", "done")
    assert (await executor.message("connection_error"))["metadata"]["reply_to"] == "r1"
    await upstream.start()
    await until(lambda: script.connection is not before and relay.sessions[0].link.up, 10.0)
    assert not script.results
    await script.call_as("same", "exec_1")
    await until(lambda: script.results)
    assert script.results[0]["id"] == "r1"


async def test_what_a_lost_executor_was_failed_for_is_told_again_to_an_upstream_that_asks(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    younger, _ = await stage.greeted(relay.url, session, role="executor")
    await script.call()
    await executor.socket.close()
    await until(lambda: script.results)
    await script.resumed(relay)
    await script.call()
    await until(lambda: len(script.results) == 2)
    assert script.results[0] == script.results[1]
    for _ in range(2):
        assert (await younger.message())["type"] == "status_update"
    assert await hears_nothing(younger, 0.05)


async def test_an_executor_at_work_is_not_called_twice(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call()
    await executor.message("tool_call")
    await script.resumed(relay)
    await script.call_as("another", "exec_1")
    for _ in range(2):
        assert (await executor.message())["type"] == "status_update"
    assert await hears_nothing(executor, 0.05)
    await answer(executor, "r1", "done")
    await until(lambda: script.results)


def call_of(execution_id: str) -> dict[str, Any]:
    payload = {"tool_name": "ls", "execution_id": execution_id, "parameters": {}}
    return enveloped("tool_call", f"of {execution_id}", **payload)


@pytest.mark.parametrize("packed", [False, True], ids=["text", "gzip"])
async def test_a_call_within_a_batch_is_the_executors_too(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream], packed: bool
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    plain, _ = await stage.greeted(relay.url, session)
    watcher = await stage.connect(relay.url, session, protocols=MARKED)
    await watcher.message("connection_established")
    note = enveloped("notification", "n1", title="x")
    batch = json.dumps(enveloped("batch", "b1", messages=[call_of("e1"), note, call_of("e2")]))
    assert script.connection is not None
    if packed:
        await script.connection.send_bytes(gzip.compress(batch.encode()))
    else:
        await script.connection.send_text(batch)
    for expected in (call_of("e1"), note, call_of("e2")):
        assert await executor.message() == expected
    seen = [await watcher.message() for _ in range(3)]
    marks = [each["metadata"]["megabot"].get("read_only") for each in seen]
    assert marks == [True, None, True]
    cursors = [int(each["metadata"]["megabot"]["cursor"].rpartition(":")[2]) for each in seen]
    assert cursors == [cursors[0], cursors[0] + 1, cursors[0] + 2]
    assert await plain.message() == note
    assert await hears_nothing(plain, 0.05)


async def test_a_call_that_came_as_gzip_is_the_executors_too(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    plain, _ = await stage.greeted(relay.url, session)
    assert script.connection is not None
    await script.connection.send_bytes(gzip.compress(json.dumps(call_of("e1")).encode()))
    assert await executor.message() == call_of("e1")
    assert await hears_nothing(plain, 0.05)


async def test_a_batch_without_a_call_reaches_a_session_as_it_came_and_answers_what_it_answers(
    stage: Stage,
) -> None:
    texts = []

    async def answer_in_a_batch(connection: Connection) -> None:
        await connection.greet()
        question = await connection.receive()
        reply = enveloped("chat_receive", "a1", content="yes")
        reply["metadata"] = {"reply_to": question["id"]}
        note = enveloped("notification", "n1", title="x")
        texts.append(json.dumps(enveloped("batch", "b1", messages=[reply, note]), indent=1))
        await connection.send_text(texts[0])
        await connection.until_gone()

    async with ScriptedUpstream(answer_in_a_batch) as upstream:
        relay = await stage.open_relay(upstream.url)
        peer, _ = await stage.greeted(relay.url)
        await peer.send("chat_send", "q1", content="?")
        assert await peer.text() == texts[0]
        assert relay.sessions[0].idle


@pytest.mark.parametrize("packed", [False, True], ids=["text", "gzip"])
async def test_results_within_a_batch_obey_the_same_rules(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream], packed: bool
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    other, _ = await stage.greeted(relay.url, session)
    await script.call()
    await executor.message("tool_call")

    async def send_batch(peer: Peer, prefix: str) -> None:
        result = {"execution_id": "exec_1", "status": "completed"}
        inner = [
            enveloped("tool_result", f"{prefix}1", **result),
            enveloped("notification", f"{prefix}2", title="x"),
        ]
        text = json.dumps(enveloped("batch", prefix, messages=inner))
        if packed:
            await peer.socket.send_bytes(gzip.compress(text.encode()))
        else:
            await peer.socket.send_str(text)

    for peer, prefix in ((other, "o"), (executor, "e"), (executor, "again")):
        await send_batch(peer, prefix)
        await until(functools.partial(script.got, f"{prefix}2"))
        if peer is other or prefix == "again":
            refusal = await peer.message("connection_error")
            assert refusal["payload"]["code"] == 409
            assert refusal["metadata"]["reply_to"] == f"{prefix}1"
    assert [each["id"] for each in script.results] == ["o2", "e1", "e2", "again2"]


async def test_a_result_sent_as_gzip_obeys_the_same_rules(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    other, _ = await stage.greeted(relay.url, session)
    await script.call()
    await executor.message("tool_call")
    result = enveloped("tool_result", "r1", execution_id="exec_1", status="completed")
    await other.socket.send_bytes(gzip.compress(json.dumps(result).encode()))
    assert (await other.message("connection_error"))["payload"]["error"] == "not_the_executor"
    await executor.socket.send_bytes(gzip.compress(json.dumps(result).encode()))
    await until(lambda: not relay.sessions[0].tool_calls)


async def test_of_an_executor_that_leaves_the_upstream_gets_the_result_that_could_not_go_up(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, wait_s=0.2)
    executor, _ = await stage.greeted(relay.url, role="executor")
    await script.call_as("same", "exec_1")
    await executor.message("tool_call")
    before = script.connection
    await upstream.stop()
    await executor.message("status_update")
    await answer(executor, "r1", "done")
    assert (await executor.message("connection_error"))["metadata"]["reply_to"] == "r1"
    await executor.socket.close()
    await upstream.start()
    await until(lambda: script.connection is not before and relay.sessions[0].link.up, 10.0)
    await script.call_as("same", "exec_1")
    await until(lambda: script.results)
    assert [result["id"] for result in script.results] == ["r1"]
