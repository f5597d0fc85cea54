"""Tool calls and results within a batch or gzip obey the rules of those that come by themselves."""

from __future__ import annotations

import functools
import gzip
import json

import pytest

from tests.relay.conftest import Peer, Stage, enveloped, hears_nothing, until
from tests.relay.executors import MARKED, Calling, at_work, call_of
from tests.support.upstream import Connection, ScriptedUpstream


@pytest.mark.parametrize("packed", [False, True], ids=["text", "gzip"])
@pytest.mark.parametrize("nested", [False, True], ids=["once", "twice"])
async def test_a_call_within_a_batch_is_the_executors_too(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream], packed: bool, nested: bool
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor, session = await stage.greeted(relay.url, role="executor")
    plain, _ = await stage.greeted(relay.url, session)
    watcher = await stage.connect(relay.url, session, protocols=MARKED)
    await watcher.message("connection_established")
    note = enveloped("notification", "n1", title="x")
    messages = [call_of("e1"), note, call_of("e2")]
    if nested:
        messages = [enveloped("batch", "b2", messages=messages[:2]), messages[2]]
    batch = json.dumps(enveloped("batch", "b1", messages=messages))
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
@pytest.mark.parametrize("nested", [False, True], ids=["once", "twice"])
async def test_results_within_a_batch_obey_the_same_rules(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream], packed: bool, nested: bool
) -> None:
    script, _ = calling
    relay, executor, session = await at_work(stage, calling)
    other, _ = await stage.greeted(relay.url, session)

    async def send_batch(peer: Peer, prefix: str) -> None:
        result = {"execution_id": "exec_1", "status": "completed"}
        inner = [
            enveloped("tool_result", f"{prefix}1", **result),
            enveloped("notification", f"{prefix}2", title="x"),
        ]
        if nested:
            inner = [enveloped("batch", f"{prefix}0", messages=inner)]
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
    relay, executor, session = await at_work(stage, calling)
    other, _ = await stage.greeted(relay.url, session)
    result = enveloped("tool_result", "r1", execution_id="exec_1", status="completed")
    await other.socket.send_bytes(gzip.compress(json.dumps(result).encode()))
    assert (await other.message("connection_error"))["payload"]["error"] == "not_the_executor"
    await executor.socket.send_bytes(gzip.compress(json.dumps(result).encode()))
    await until(lambda: not relay.sessions[0].tool_calls)
