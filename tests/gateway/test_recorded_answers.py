"""A gateway that answers from a recording."""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path

import aiohttp
import pytest

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.recording.pace import Pacing
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import Peer, replied_to
from tests.gateway.recorded import Script, served


async def says(peer: Peer, text: str) -> str:
    """What is answered, in words."""
    reply = await peer.until("chat_receive", await peer.say(text))
    return str(reply["payload"]["content"])


async def test_an_answer_comes_word_for_word_with_fresh_names_and_the_time_of_today(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().greet()
    script.asked("chat_send", {"content": "hi"}, "m_old")
    script.came("chat_stream", {"chunk": "Hel", "is_complete": False, "stream_id": "s_old"})
    script.came("chat_stream", {"chunk": "lo", "is_complete": True, "stream_id": "s_old"})
    script.came("chat_receive", {"content": "Hello", "sender": "assistant"}, "m_old")
    async with served(open_house, tmp_path, script) as (house, answers), house.connected() as peer:
        assert peer.received[0]["payload"]["capabilities"] == ["recorded"]
        assert peer.session_id.startswith("sess_")
        message_id = await peer.say("hi")
        first, second, whole = await peer.answer(message_id)
        again = await peer.answer(await peer.say("hi"))
    assert first["payload"]["chunk"] + second["payload"]["chunk"] == whole["payload"]["content"]
    assert replied_to(whole) == message_id
    assert {one["metadata"]["session_id"] for one in (first, whole)} == {peer.session_id}
    assert first["payload"]["stream_id"] == second["payload"]["stream_id"]
    streams = {"s_old", first["payload"]["stream_id"], again[0]["payload"]["stream_id"]}
    assert len(streams) == 3
    assert len({one["id"] for one in (first, second, whole, *again)}) == 6
    assert not any(one["id"].startswith("up_") for one in (first, second, whole))
    assert whole["timestamp"] == pytest.approx(time.time(), abs=10)
    assert (answers.tally.clients, answers.tally.matched, answers.tally.missed) == (1, 2, 0)


async def test_asked_again_it_goes_on_to_the_next_time_it_was_recorded_and_stays_at_the_last(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().greet().said("state?", "queued", "m1").said("state?", "done", "m2")
    async with served(open_house, tmp_path, script) as (house, _):
        async with house.connected() as peer, house.connected() as other:
            said = [await says(peer, "state?") for _ in range(3)]
            assert said == ["queued", "done", "done"]
            assert await says(other, "state?") == "queued"
        async with house.connected(session_id=peer.session_id) as back:
            assert back.session_id == peer.session_id
            assert await says(back, "state?") == "done"


async def test_several_clients_at_once_follow_the_recorded_session_that_is_theirs(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script()
    names = [f"sess_{number}" for number in range(5)]
    for name in names:
        script.greet(name)
    for name in names:
        script.said(f"I am {name}", "welcome", f"{name}.1", name)
    for name in names:
        script.said("who am I?", name, f"{name}.2", name)
    async with served(open_house, tmp_path, script) as (house, answers):

        async def talk(name: str) -> str:
            async with house.connected() as peer:
                assert await says(peer, f"I am {name}") == "welcome"
                return await says(peer, "who am I?")

        assert await asyncio.gather(*map(talk, reversed(names))) == names[::-1]
    assert (answers.tally.clients, answers.tally.matched) == (5, 10)


async def test_what_nobody_asked_for_is_told_at_its_time_since_the_connection(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().greet().pause(0.4)
    script.came("notification", {"title": "late", "message": "m", "type": "info"})
    original = Pacing(pace="original")
    async with served(open_house, tmp_path, script, pacing=original) as (house, _):
        started = time.monotonic()
        async with house.connected() as peer:
            notice = await peer.until("notification")
    assert notice["payload"]["title"] == "late"
    assert notice["metadata"]["session_id"] == peer.session_id
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize(
    ("pacing", "at_least_s"),
    [
        (Pacing(pace="original", speed=5), 0.2),
        (Pacing(pace="original", max_gap_s=0.2), 0.2),
        (Pacing(pace="fixed", per_s=5), 0.2),
    ],
)
async def test_answers_come_at_the_pace_that_was_asked_for(
    open_house: OpenHouse, tmp_path: Path, pacing: Pacing, at_least_s: float
) -> None:
    script = Script().greet().asked("chat_send", {"content": "hi"}, "m1")
    script.came("status_update", {"status": "working"}, "m1").pause(60)
    script.came("chat_receive", {"content": "Hello", "sender": "assistant"}, "m1")
    if pacing.speed > 1:
        script.records[-1].t -= 59_000_000
    async with (
        served(open_house, tmp_path, script, pacing=pacing) as (house, _),
        house.connected() as peer,
    ):
        started = time.monotonic()
        assert await says(peer, "hi") == "Hello"
    assert at_least_s <= time.monotonic() - started < 30


async def test_after_a_tool_call_the_rest_follows_the_result_of_the_client(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    call = {"tool_name": "clock", "execution_id": "exec_old", "parameters": {}}
    result = {"execution_id": "exec_old", "status": "completed", "result": "noon"}
    script = Script().greet().asked("chat_send", {"content": "what time?"}, "m1")
    script.came("tool_call", call).asked("tool_result", result, "m2")
    script.came("chat_receive", {"content": "It is noon", "sender": "assistant"}, "m1")
    async with served(open_house, tmp_path, script) as (house, answers), house.connected() as peer:
        asked = await peer.say("what time?")
        now = (await peer.until("tool_call"))["payload"]["execution_id"]
        assert now not in ("exec_old", "")
        with pytest.raises(TimeoutError):
            await peer.next(0.2)
        done = {"execution_id": now, "status": "completed", "result": "another word"}
        await peer.send("tool_result", done)
        reply = await peer.until("chat_receive", asked)
    assert reply["payload"]["content"] == "It is noon"
    assert (answers.tally.matched, answers.tally.missed) == (2, 0)


async def test_what_the_upstream_names_is_named_alike_in_all_that_follows(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    call = {"tool_name": "clock", "execution_id": "exec_theirs", "parameters": {}}
    done = {"execution_id": "exec_theirs", "status": "completed", "result": 1}
    progress = {"status": "working", "task_id": "task_old"}
    script = Script().greet().asked("tool_call", call, "m1").came("status_update", progress, "m1")
    script.came("tool_result", done, "m1")
    script.came("status_update", progress | {"status": "completed"})
    async with served(open_house, tmp_path, script) as (house, _), house.connected() as peer:
        await peer.send("tool_call", call | {"execution_id": "exec_mine"})
        first = (await peer.until("status_update"))["payload"]
        result = (await peer.until("tool_result"))["payload"]
        last = (await peer.until("status_update"))["payload"]
    assert result["execution_id"] == "exec_mine"
    assert first["task_id"] == last["task_id"] != "task_old"


async def test_a_recorded_close_comes_with_its_code_where_it_is_wanted(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().greet().said("bye", "Bye.", "m1")
    script.add("close", code=4321, reason="enough", by="upstream")
    async with (
        served(open_house, tmp_path, script, closes=True) as (house, _),
        house.connected() as peer,
    ):
        assert await says(peer, "bye") == "Bye."
        assert await peer.closed() == 4321


async def test_a_cut_line_is_cut_again(open_house: OpenHouse, tmp_path: Path) -> None:
    script = Script().greet().said("bye", "Bye.", "m1")
    script.add("close", code=1006, by="upstream")
    async with (
        served(open_house, tmp_path, script, closes=True) as (house, _),
        house.dialed() as socket,
    ):
        await socket.send_str('{"id":"a","type":"chat_send","payload":{"content":"bye"}}')
        kinds = [frame.type async for frame in socket]
    assert len(kinds) == 2
    assert socket.close_code == 1006


async def test_closes_are_left_out_unless_wanted(open_house: OpenHouse, tmp_path: Path) -> None:
    script = Script().greet().said("bye", "Bye.", "m1")
    script.add("close", code=4321, by="upstream")
    async with served(open_house, tmp_path, script) as (house, _), house.connected() as peer:
        assert await says(peer, "bye") == "Bye."
        assert await says(peer, "bye") == "Bye."


async def test_a_miss_is_told_by_name(open_house: OpenHouse, tmp_path: Path) -> None:
    script = Script().greet().said("hi", "Hello", "m1")
    async with served(open_house, tmp_path, script) as (house, answers), house.connected() as peer:
        asked = await peer.say("something else")
        refusal = await peer.until("connection_error", asked)
        assert await says(peer, "hi") == "Hello"
    assert (refusal["payload"]["error"], refusal["payload"]["code"]) == ("not_recorded", 404)
    assert (answers.tally.matched, answers.tally.missed) == (1, 1)


async def test_a_miss_may_close(open_house: OpenHouse, tmp_path: Path) -> None:
    script = Script().greet().said("hi", "Hello", "m1")
    async with (
        served(open_house, tmp_path, script, miss="close") as (house, _),
        house.connected() as peer,
    ):
        await peer.say("something else")
        assert await peer.closed() == 1008


async def test_a_miss_may_be_echoed_by_the_gateway_s_own_assistant(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().greet().said("hi", "Hello", "m1")
    async with (
        served(open_house, tmp_path, script, miss="echo") as (house, _),
        house.connected() as peer,
    ):
        assert "something else" in await says(peer, "something else")
        assert await says(peer, "hi") == "Hello"


async def test_a_miss_may_be_asked_of_the_real_upstream(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    real = await open_house()
    script = Script().greet().said("hi", "Hello", "m1")

    def new_upstream(session_id: str | None) -> MegaBotClient:
        return MegaBotClient(
            real.gateway.url, api_key=real.key, session_id=session_id, reconnect=None
        )

    async with (
        served(open_house, tmp_path, script, miss="forward", new_upstream=new_upstream) as (
            house,
            _,
        ),
        house.connected() as peer,
    ):
        asked = await peer.say("something else")
        messages = await peer.answer(asked)
        assert "something else" in messages[-1]["payload"]["content"]
        assert {one["metadata"]["session_id"] for one in messages} == {peer.session_id}
        assert await says(peer, "hi") == "Hello"
        await real.gateway.stop()
        asked = await peer.say("something else")
        refusal = await peer.until("connection_error", asked)
        assert refusal["payload"]["code"] == 502


async def test_binary_messages_and_the_flat_dialect_are_answered_too(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().add("open", note="new_session")
    flat = '{"type":"welcome","session_id":"sess_old"}'
    script.add("message", direction="to_client", type="welcome", data=flat)
    asked = base64.b64encode(b"\x00\x01").decode()
    script.add("message", direction="to_upstream", opcode="binary", data_b64=asked)
    answer = base64.b64encode(b"\xff\xfe").decode()
    script.add("message", direction="to_client", opcode="binary", data_b64=answer)
    flat = '{"type":"message","content":"hi","timestamp":"2025-01-01T00:00:00Z"}'
    script.add("message", direction="to_upstream", type="message", data=flat)
    script.add("message", direction="to_client", type="reply", data='{"type":"reply","text":"yo"}')
    async with served(open_house, tmp_path, script) as (house, _), house.dialed() as socket:
        welcome = await socket.receive_json(timeout=10)
        assert welcome["type"] == "welcome"
        assert welcome["session_id"] != "sess_old"
        await socket.send_bytes(b"\x00\x01")
        frame = await socket.receive(10)
        assert (frame.type, frame.data) == (aiohttp.WSMsgType.BINARY, b"\xff\xfe")
        await socket.send_str('{"type":"message","content":"hi","timestamp":"now"}')
        assert await socket.receive_json(timeout=10) == {"type": "reply", "text": "yo"}


async def test_a_redacted_place_is_whatever_it_is_today(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().greet()
    recorded = {"content": "use it", "token": "‹redacted:9f2c0000›"}
    script.asked("chat_send", recorded, "m1", redacted=["$.payload.token"])
    script.came("chat_receive", {"content": "Used.", "sender": "assistant"}, "m1")
    async with served(open_house, tmp_path, script) as (house, _), house.connected() as peer:
        asked = await peer.send("chat_send", {"content": "use it", "token": "the real one"})
        assert (await peer.until("chat_receive", asked))["payload"]["content"] == "Used."
        asked = await peer.send("chat_send", {"content": "use that", "token": "the real one"})
        assert (await peer.until("connection_error", asked))["payload"]["code"] == 404


async def test_what_stands_around_a_redacted_place_has_to_be_said(
    open_house: OpenHouse, tmp_path: Path
) -> None:
    script = Script().greet()
    for number, word in enumerate(("key", "pass", "key")):
        recorded, name = {"content": f"my {word} is ‹redacted:9f2c0000›"}, f"m{number}"
        script.asked("chat_send", recorded, name, redacted=["$.payload.content"])
        script.came("chat_receive", {"content": f"{word} {number}", "sender": "assistant"}, name)
    async with served(open_house, tmp_path, script) as (house, _), house.connected() as peer:
        said = []
        for text in ("my key is a", "my pass is b", "my key is c"):
            asked = await peer.send("chat_send", {"content": text})
            said.append((await peer.until("chat_receive", asked))["payload"]["content"])
        assert said == ["key 0", "pass 1", "key 2"]
        asked = await peer.send("chat_send", {"content": "something else"})
        assert (await peer.until("connection_error", asked))["payload"]["code"] == 404


async def test_each_message_of_a_batch_is_answered(open_house: OpenHouse, tmp_path: Path) -> None:
    script = Script().greet().said("hi", "Hello", "m1").said("ho", "Hey", "m2")
    async with served(open_house, tmp_path, script) as (house, _), house.connected() as peer:
        inner = [
            {"id": name, "type": "chat_send", "payload": {"content": text}}
            for name, text in (("a", "hi"), ("b", "ho"))
        ]
        await peer.send("batch", {"messages": inner})
        replies = [await peer.until("chat_receive") for _ in inner]
    said = {replied_to(one): one["payload"]["content"] for one in replies}
    assert said == {"a": "Hello", "b": "Hey"}


async def test_more_than_can_be_under_way_is_refused(open_house: OpenHouse, tmp_path: Path) -> None:
    call = {"tool_name": "clock", "execution_id": "exec_old", "parameters": {}}
    result = {"execution_id": "exec_old", "status": "completed", "result": "noon"}
    script = Script().greet().asked("chat_send", {"content": "what time?"}, "m1")
    script.came("tool_call", call).asked("tool_result", result, "m2")
    async with served(open_house, tmp_path, script) as (house, _), house.connected() as peer:
        for _ in range(1001):
            await peer.say("what time?")
        refusal = await peer.until("connection_error")
    assert refusal["payload"]["code"] == 429
