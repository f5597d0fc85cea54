"""Every message that the gateway sends, field by field as the specification shows it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from megabot_cli.protocol.messages import MESSAGE_TYPES
from tests.gateway.peer import House, Message, replied_to
from tests.gateway.scenarios.conftest import Playing
from tests.protocol.specification_texts import EVERYTHING

FOR_CLIENTS = {
    name: json.loads(text)["payload"]
    for name, text in EVERYTHING.items()
    if MESSAGE_TYPES[json.loads(text)["type"]].sent_by != "client"
    and json.loads(text)["type"] not in ("connection_established", "batch")
}


async def everything(house: House) -> list[Message]:
    """What a client hears that says, joins, runs a tool and errs."""
    async with house.connected() as peer:
        await peer.answer(await peer.say("Hello MegaBot!"))
        joined = await peer.send("session_join", {"session_id": "room"})
        await peer.until("notification", joined)
        call = {"tool_name": "echo", "parameters": {"n": 1}, "execution_id": "exec_456"}
        await peer.until("tool_result", await peer.send("tool_call", call))
        await peer.until("connection_error", await peer.send("chat_send", {"content": ""}))
        return peer.received


async def test_every_message_has_an_id_of_its_own_a_type_a_payload_and_a_time(
    house: House,
) -> None:
    heard = await everything(house)
    assert len({one["id"] for one in heard}) == len(heard)
    for one in heard:
        assert set(one) <= {"id", "type", "payload", "timestamp", "metadata"}
        assert one["id"].startswith("msg_")
        assert one["type"] in MESSAGE_TYPES
        assert isinstance(one["payload"], dict)
        assert one["timestamp"] == pytest.approx(time.time(), abs=60)  # seconds


async def test_every_answer_names_its_session_and_what_it_answers(house: House) -> None:
    greeting, *heard = await everything(house)
    session_id = greeting["payload"]["session_id"]
    for one in heard:
        assert replied_to(one)
        room = "room" if one["type"] == "notification" else session_id
        assert one["metadata"]["session_id"] == room


async def test_the_greeting_has_the_fields_shown(house: House) -> None:
    async with house.connected() as peer:
        payload = peer.received[0]["payload"]
    assert set(payload) == {"session_id", "user_id", "capabilities"}
    assert payload["session_id"].startswith("sess_")
    assert payload["user_id"].startswith("user_")
    assert {"chat", "realtime", "streaming"} <= set(payload["capabilities"])


async def test_a_whole_answer_has_the_fields_shown(house: House) -> None:
    heard = await everything(house)
    payload = next(one["payload"] for one in heard if one["type"] == "chat_receive")
    assert set(payload) == {"content", "sender", "platform", "timestamp"}
    assert (payload["sender"], payload["platform"]) == ("assistant", "megabot")
    assert payload["timestamp"] == pytest.approx(time.time(), abs=60)


async def test_a_chunk_has_the_fields_shown(house: House) -> None:
    heard = await everything(house)
    chunks = [one["payload"] for one in heard if one["type"] == "chat_stream"]
    assert all(set(chunk) == {"chunk", "is_complete", "sequence"} for chunk in chunks)
    assert [chunk["sequence"] for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert [chunk["is_complete"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_a_tool_result_has_the_fields_shown(house: House) -> None:
    heard = await everything(house)
    payload = next(one["payload"] for one in heard if one["type"] == "tool_result")
    assert payload == {
        "execution_id": "exec_456",
        "status": "completed",
        "result": {"n": 1},
        "output": "The parameters, as they came.",
    }


async def test_a_refusal_has_the_fields_shown(house: House) -> None:
    payload = (await everything(house))[-1]["payload"]
    assert set(payload) == {"error", "message", "code"}
    assert (payload["error"], payload["code"]) == ("invalid_message", 400)


async def test_a_notification_has_the_fields_shown(house: House) -> None:
    heard = await everything(house)
    payload = next(one["payload"] for one in heard if one["type"] == "notification")
    assert {"type", "title", "message", "dismissible"} <= set(payload)


async def test_work_that_takes_long_tells_how_far_it_has_come(house: House) -> None:
    async with house.connected() as peer:
        call = {"tool_name": "sleep", "parameters": {"seconds": 0.5}, "execution_id": "exec_9"}
        sent = await peer.send("tool_call", call)
        await peer.until("tool_result", sent)
    told = [one["payload"] for one in peer.received if one["type"] == "status_update"]
    assert all(set(one) == {"status", "progress", "message", "task_id"} for one in told)
    assert {one["task_id"] for one in told} == {"exec_9"}
    progress = [one["progress"] for one in told]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0.0, 1.0)
    assert (told[0]["status"], told[-1]["status"]) == ("working", "completed")


async def test_work_that_is_soon_done_tells_only_its_result(house: House) -> None:
    assert "status_update" not in {one["type"] for one in await everything(house)}


@pytest.mark.parametrize("name", FOR_CLIENTS)
async def test_a_message_shown_for_clients_can_be_played_to_one(
    playing: Playing, name: str
) -> None:
    sent: dict[str, Any] = {
        "type": json.loads(EVERYTHING[name])["type"],
        "payload": FOR_CLIENTS[name],
    }
    house = await playing(f"rules:\n  - {{steps: [{{send: {json.dumps(sent)}}}]}}\n")
    async with house.connected() as peer:
        asked = await peer.say("show me")
        heard = await peer.until(sent["type"])
        assert heard["payload"] == sent["payload"]
        assert replied_to(heard) in (asked, None)
