"""A tool call that comes again, of the upstream's will or out of the ring, is begun by nobody."""

from __future__ import annotations

import asyncio
import functools

import pytest

from tests.relay.conftest import Stage, hears_nothing, until
from tests.relay.executors import MARKED, Calling, answer, answered_in_vain, at_work, cursor_of
from tests.support.upstream import ScriptedUpstream


async def test_a_call_repeated_after_a_resume_is_not_carried_out_again(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, _ = calling
    _, executor, _ = await at_work(stage, calling)
    await answer(executor, "r1", "done")
    await until(lambda: script.results)
    await script.call()
    await asyncio.sleep(0.05)
    await answer(executor, "r2", "done twice")
    assert (await executor.message("connection_error"))["payload"]["code"] == 409
    assert len(script.results) == 1


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
    script, _ = calling
    relay, executor, session = await at_work(stage, calling, message_id="same")
    other, _ = await stage.greeted(relay.url, session)
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
    relay, _ = await answered_in_vain(stage, calling)
    before = script.connection
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
    script, _ = calling
    relay, executor, _ = await at_work(stage, calling)
    await script.resumed(relay)
    await script.call_as("another", "exec_1")
    for _ in range(2):
        assert (await executor.message())["type"] == "status_update"
    assert await hears_nothing(executor, 0.05)
    await answer(executor, "r1", "done")
    await until(lambda: script.results)


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_a_call_made_again_without_an_executor_is_shown_once_to_each(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream], mode: str
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, mode=mode)
    first, session = await stage.greeted(relay.url)
    second, _ = await stage.greeted(relay.url, session)
    await script.call_as("once", "exec_1")
    for peer in (first, second):
        assert (await peer.message())["id"] == "once"
    late, _ = await stage.greeted(relay.url, session)
    await script.call_as("again", "exec_1")
    await script.call_as("and again", "exec_1")
    assert (await late.message())["id"] == "again"
    for peer in (first, second, late):
        assert await hears_nothing(peer, 0.05)
    await answer(first, "r1", "done")
    await until(lambda: script.results)
    assert relay.numbers.drops["duplicate"] == 1


async def test_a_call_out_of_the_ring_is_not_shown_again_when_it_is_made_again(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    staying, session = await stage.greeted(relay.url)
    cursor = relay.sessions[0].ring.cursor()
    await script.call_as("once", "exec_1")
    await staying.message("tool_call")
    back = await stage.connect(relay.url, session, {"cursor": cursor})
    assert [(await back.message())["type"] for _ in range(2)][1] == "tool_call"
    await script.call_as("again", "exec_1")
    for peer in (staying, back):
        assert await hears_nothing(peer, 0.05)
