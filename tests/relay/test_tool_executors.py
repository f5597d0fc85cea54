"""A tool call from upstream is carried out once, whoever is connected."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Literal

import pytest

from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.frames import server_frame
from megabot_cli.protocol.signing import Signer
from tests.relay.conftest import SIGNING_KEY, Stage, enveloped, hears_nothing, signing, until
from tests.relay.executors import MARKED, Calling, answer, answered_in_vain, at_work, cursor_of
from tests.support.upstream import ScriptedUpstream


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


@pytest.mark.parametrize("mode", ["session", "shared"])
async def test_a_call_for_a_request_of_an_executor_is_carried_out_by_that_one(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream], mode: Literal["session", "shared"]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url, mode=mode)
    oldest, session = await stage.greeted(relay.url, role="executor")
    asker, _ = await stage.greeted(relay.url, session, role="executor")
    await asker.send("chat_send", "q1", content="use my tools")
    await until(lambda: script.got("q1"))
    await script.call(reply_to="q1")
    assert (await asker.message("tool_call"))["payload"]["tool_name"] == "ls"
    assert await hears_nothing(oldest, 0.05)
    await answer(asker, "r1", "done")
    await until(lambda: script.got("r1"))
    assert script.connection is not None
    await script.connection.send("chat_receive", {"content": "used"}, reply_to="q1")
    plain, _ = await stage.greeted(relay.url, session)
    await plain.send("chat_send", "q2", content="I have none")
    await until(lambda: script.got("q2"))
    await script.call("exec_2", reply_to="q2")
    assert (await oldest.message("tool_call"))["payload"]["execution_id"] == "exec_2"


async def test_an_executor_that_reads_the_corner_gets_a_call_once_and_to_carry_out(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    executor = await stage.connect(relay.url, query={"role": "executor"}, protocols=MARKED)
    await executor.message("connection_established")
    await script.call()
    call = await executor.message("tool_call")
    assert "read_only" not in call["metadata"]["megabot"]
    assert await hears_nothing(executor)


async def test_only_the_executor_may_answer_and_only_once(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, _ = calling
    relay, executor, session = await at_work(stage, calling)
    other, _ = await stage.greeted(relay.url, session)
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


async def test_of_a_call_that_no_relay_has_seen_the_first_answer_counts_too(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    """As after a restart of the relay."""
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    first, session = await stage.greeted(relay.url)
    second, _ = await stage.greeted(relay.url, session)
    await answer(first, "r1", "done", "exec_of_before")
    await until(lambda: script.results)
    await answer(second, "r2", "done too", "exec_of_before")
    refusal = await second.message("connection_error")
    assert (refusal["payload"]["code"], refusal["metadata"]["reply_to"]) == (409, "r2")
    await script.call("exec_of_before")
    await second.message("tool_call")
    await answer(second, "r3", "now it was called", "exec_of_before")
    await until(lambda: len(script.results) == 2)
    assert [result["id"] for result in script.results] == ["r1", "r3"]


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
    script, _ = calling
    relay, executor, session = await at_work(stage, calling)
    younger, _ = await stage.greeted(relay.url, session, role="executor")
    await executor.socket.close()
    await until(lambda: script.results)
    payload = script.results[0]["payload"]
    assert (payload["execution_id"], payload["status"]) == ("exec_1", "failed")
    assert await hears_nothing(younger, 0.05)
    await script.call("exec_2")
    assert (await younger.message("tool_call"))["payload"]["execution_id"] == "exec_2"


async def test_of_a_session_that_is_closed_the_upstream_hears_what_becomes_of_its_calls(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, _ = calling
    relay, executor, session = await at_work(stage, calling)
    assert relay.operations.close(session, CloseCode.GOING_AWAY, "enough") == "session"
    assert await executor.close_code() == 1001
    await until(lambda: script.results, 5.0)
    (result,) = script.results
    assert (result["type"], result["payload"]["execution_id"]) == ("tool_result", "exec_1")
    assert result["payload"]["status"] == "failed"


async def test_an_executor_that_is_connected_anew_under_its_name_still_answers_what_it_began(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    """Its old connection is replaced: nobody has left."""
    script, upstream = calling
    relay = await stage.open_relay(upstream.url)
    named = {"role": "executor", "client_id": "ada"}
    before, session = await stage.greeted(relay.url, **named)
    await script.call()
    await before.message("tool_call")
    after, _ = await stage.greeted(relay.url, session, **named)
    assert await before.close_code() == 4503
    await until(lambda: len(relay.sessions[0].clients) == 1)
    await answer(after, "r1", "done")
    await until(lambda: script.results)
    await asyncio.sleep(0.05)
    assert [each["payload"]["status"] for each in script.results] == ["completed"]


async def test_what_the_relay_itself_says_upstream_is_signed_where_the_profile_signs(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream], tmp_path: Path
) -> None:
    script, _ = calling
    _, executor, _ = await at_work(stage, calling, integrity=signing(tmp_path))
    await executor.socket.close()
    await until(lambda: script.results)
    said = script.results[0]
    assert said["payload"]["status"] == "failed"
    text = json.dumps(said, separators=(",", ":")).encode()
    assert Signer(SIGNING_KEY).check(text) is None


async def test_a_result_that_the_relay_refused_or_gave_up_has_not_answered_the_call(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay, executor, _ = await at_work(stage, calling, wait_messages=1, wait_s=1.0)
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

    script, _ = calling
    limits = LimitSettings(messages_per_second=20, burst=1)
    _, executor, _ = await at_work(stage, calling, limits=limits)
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
    script, _ = calling
    relay, executor, _ = await at_work(stage, calling, drain_s=10.0)
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    assert await hears_nothing(executor, 0.3)
    await answer(executor, "r1", "done")
    assert await executor.close_code() == 1012
    await draining
    assert [result["id"] for result in script.results] == ["r1"]


async def test_in_the_last_moment_of_a_drain_only_results_go_up(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, _ = calling
    relay, executor, _ = await at_work(stage, calling, drain_s=2.0)
    draining = asyncio.get_running_loop().create_task(relay.drain(), name="drain")
    await until(lambda: relay.main.parts.stopping)
    await executor.send("notification", "n1", title="x")
    told = await executor.message("connection_error")
    assert (told["payload"]["code"], told["metadata"]["reply_to"]) == (503, "n1")
    await answer(executor, "r1", "done")
    assert await executor.close_code() == 1012
    await draining
    assert [result["id"] for result in script.results] == ["r1"]


async def test_what_a_drain_cannot_wait_for_is_told_as_it_is(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, _ = calling
    relay, executor, _ = await at_work(stage, calling, drain_s=0.2)
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


async def test_of_an_executor_that_leaves_the_upstream_gets_the_result_that_could_not_go_up(
    stage: Stage, calling: tuple[Calling, ScriptedUpstream]
) -> None:
    script, upstream = calling
    relay, executor = await answered_in_vain(stage, calling)
    before = script.connection
    await executor.socket.close()
    await upstream.start()
    await until(lambda: script.connection is not before and relay.sessions[0].link.up, 10.0)
    await script.call_as("same", "exec_1")
    await until(lambda: script.results)
    assert [result["id"] for result in script.results] == ["r1"]


async def test_what_comes_in_one_read_with_a_call_is_numbered_in_its_order(stage: Stage) -> None:
    script = Calling()
    async with ScriptedUpstream(script) as upstream:
        relay = await stage.open_relay(upstream.url)
        reader = await stage.connect(relay.url, protocols=MARKED)
        epoch, _, top = (await cursor_of(reader)).rpartition(":")
        assert script.connection is not None
        texts = [
            json.dumps(
                enveloped(kind, f"m{number}", tool_name="ls", execution_id="e", parameters={})
            )
            for number, kind in enumerate(("note", "tool_call", "note", "batch", "note"))
        ]
        frames = b"".join(server_frame(text.encode()) for text in texts)
        await script.connection.send_raw(frames)
        heard = [await reader.message() for _ in range(5)]
        assert [each["id"] for each in heard] == ["m0", "m1", "m2", "m3", "m4"]
        cursors = [each["metadata"]["megabot"]["cursor"] for each in heard]
        assert cursors == [f"{epoch}:{int(top) + number}" for number in range(1, 6)]
        again = await stage.connect(
            relay.url, relay.sessions[0].session_id, {"cursor": cursors[1]}, protocols=MARKED
        )
        await again.message("connection_established")
        assert [(await again.message())["id"] for _ in range(3)] == ["m2", "m3", "m4"]
