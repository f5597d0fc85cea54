"""Every type of message, and every kind of text that is none, has its answer."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from megabot_cli.protocol.messages import MESSAGE_TYPES
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House, Message, replied_to


def envelope(message_type: str, payload: Any, message_id: str = "m") -> Message:
    return {"id": message_id, "type": message_type, "payload": payload}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"type":"message","content":"hi"}', "$.id"),
        ('{"id":"m","type":"chat_send"}', "$.payload"),
        ('{"id":"m","type":"chat_send","payload":null}', "$.payload"),
        ('{"id":"","type":"chat_send","payload":{}}', "$.id"),
        ('{"id":"m","type":"chat_send","payload":{"content":""}}', "$.payload.content"),
        ('{"id":"m","type":"chat_send","payload":{"content":7}}', "$.payload.content"),
        ('{"id":"m","type":"tool_call","payload":{"tool_name":"x"}}', "$.payload.parameters"),
        ('{"id":"m","type":"session_join","payload":{}}', "$.payload.session_id"),
        ("[1,2]", "$"),
        ("hello", "$"),
        ("", "$"),
        ('{"id":"m"', "$"),
        ("[" * 10_000, "$"),
        ('{"id":"m","type":"x","payload":' + "[" * 10_000, "$"),
        ('{"id":"m","type":"chat_send","payload":{"content":"\\ud800"}}', "$"),
    ],
)
async def test_a_text_that_is_no_message_is_refused_by_path_and_the_connection_stays(
    house: House, text: str, path: str
) -> None:
    async with house.connected() as peer:
        await peer.send_text(text)
        refusal = await peer.until("connection_error")
        assert refusal["payload"]["code"] == 400
        assert refusal["payload"]["error"] == "invalid_message"
        assert refusal["payload"]["message"].startswith(f"{path}: expected ")
        await peer.answer(await peer.say("still friends?"))


async def test_a_refusal_names_the_message_it_refuses(house: House) -> None:
    async with house.connected() as peer:
        refused = await peer.send("chat_send", {"content": "x" * 10_001})
        refusal = await peer.until("connection_error", refused)
        assert "10000 characters" in refusal["payload"]["message"]
        assert refusal["metadata"]["session_id"] == peer.session_id


async def test_content_is_counted_in_utf16_as_javascript_does(house: House) -> None:
    async with house.connected() as peer:
        await peer.answer(await peer.say("\U0001f600" * 5000))
        refused = await peer.say("\U0001f600" * 5001)
        await peer.until("connection_error", refused)


async def test_binary_is_refused_and_the_connection_stays(house: House) -> None:
    async with house.connected() as peer:
        await peer.socket.send_bytes(b"\x00\x01")
        refusal = await peer.until("connection_error")
        assert refusal["payload"]["code"] == 400
        await peer.answer(await peer.say("still friends?"))


@pytest.mark.parametrize("payload", [{}, [], 0, "text", False, {"type": "x"}])
async def test_an_unknown_type_is_refused_by_name(house: House, payload: object) -> None:
    async with house.connected() as peer:
        refused = await peer.send("chat_sing", payload)
        refusal = await peer.until("connection_error", refused)
        assert refusal["payload"]["error"] == "unknown_type"
        assert "chat_sing" in refusal["payload"]["message"]


VALID_PAYLOADS: dict[str, Any] = {
    "connection_established": {"session_id": "s", "user_id": "u", "capabilities": []},
    "connection_error": {"error": "e", "message": "m", "code": 401},
    "chat_send": {"content": "hi"},
    "chat_receive": {"content": "hi", "sender": "assistant"},
    "chat_stream": {"chunk": "hi", "is_complete": False, "sequence": 1},
    "status_update": {"status": "processing", "progress": 0.5},
    "notification": {"type": "info", "title": "t"},
    "tool_call": {"tool_name": "echo", "parameters": {}, "execution_id": "e"},
    "tool_result": {"execution_id": "e", "status": "completed"},
    "session_join": {"session_id": "room"},
    "collaborative_action": {"session_id": "room", "action": "cursor_move"},
    "batch": {"messages": [envelope("chat_send", {"content": "hi"}, "inner")]},
}


def test_every_type_of_the_specification_is_tried() -> None:
    assert set(VALID_PAYLOADS) == set(MESSAGE_TYPES)


@pytest.mark.parametrize("message_type", MESSAGE_TYPES)
async def test_every_type_of_the_specification_has_an_answer(
    house: House, message_type: str
) -> None:
    expected = {
        "chat_send": "chat_receive",
        "tool_call": "tool_result",
        "session_join": "notification",
        "batch": "chat_receive",
    }.get(message_type, "connection_error")
    async with house.connected() as peer:
        sent = await peer.send(message_type, VALID_PAYLOADS[message_type])
        answer = await peer.until(expected)
        assert replied_to(answer) == ("inner" if message_type == "batch" else sent)


@pytest.mark.parametrize(
    "message_type", [name for name, kind in MESSAGE_TYPES.items() if kind.sent_by == "upstream"]
)
async def test_what_only_megabot_sends_is_refused_from_a_client(
    house: House, message_type: str
) -> None:
    async with house.connected() as peer:
        sent = await peer.send(message_type, VALID_PAYLOADS[message_type])
        refusal = await peer.until("connection_error", sent)
        assert refusal["payload"]["error"] == "wrong_sender"


async def test_a_batch_is_handled_message_by_message_in_order(house: House) -> None:
    messages = [envelope("chat_send", {"content": f"n{n}"}, f"b{n}") for n in range(20)]
    async with house.connected() as peer:
        await peer.send("batch", {"messages": messages})
        await peer.answer("b19")
    whole = [replied_to(one) for one in peer.received if one["type"] == "chat_receive"]
    assert whole == [f"b{n}" for n in range(20)]


async def test_a_batch_with_one_bad_message_is_refused_whole_with_the_path(house: House) -> None:
    messages = [
        envelope("chat_send", {"content": "good"}, "good"),
        envelope("chat_send", {"content": ""}, "bad"),
    ]
    async with house.connected() as peer:
        batch = await peer.send("batch", {"messages": messages})
        refusal = await peer.until("connection_error", batch)
        assert refusal["payload"]["message"].startswith("$.payload.messages[1].payload.content")
        await peer.answer(await peer.say("next"))
        assert "good" not in [replied_to(one) for one in peer.received]


@pytest.mark.parametrize("messages", [[], [envelope("batch", {"messages": []})], [7]])
async def test_an_empty_or_nested_batch_is_refused(house: House, messages: list[Any]) -> None:
    async with house.connected() as peer:
        await peer.until("connection_error", await peer.send("batch", {"messages": messages}))


async def test_a_message_of_exactly_the_limit_is_read(open_house: OpenHouse) -> None:
    house = await open_house(limits={"max_message_bytes": 2000})
    async with house.connected() as peer:
        text = msgspec.json.encode(envelope("chat_send", {"content": "x"})).decode()
        await peer.send_text(text + " " * (2000 - len(text)))
        await peer.answer("m")


async def test_a_message_over_the_limit_is_413_and_the_connection_stays(house: House) -> None:
    async with house.connected() as peer:
        text = msgspec.json.encode(envelope("chat_send", {"content": "x"}, "big")).decode()
        await peer.send_text(text + " " * (1024 * 1024 + 1 - len(text)))
        refusal = await peer.until("connection_error", "big")
        assert refusal["payload"]["code"] == 413
        assert refusal["payload"]["error"] == "message_too_large"
        await peer.answer(await peer.say("still friends?"))


@pytest.mark.parametrize("compress", [0, 15])
async def test_a_message_far_over_the_limit_ends_the_connection_with_1009(
    house: House, compress: int
) -> None:
    async with house.connected(compress=compress) as peer:
        await peer.send_text("0" * (2 * 1024 * 1024))
        assert await peer.closed() == 1009
    async with house.connected() as other:
        await other.answer(await other.say("and you?"))


async def test_text_that_is_not_utf8_ends_the_connection_with_1007(house: House) -> None:
    async with house.connected() as peer:
        await peer.socket._writer.send_frame(b'{"id":"\xff"}', 1)
        assert await peer.closed() == 1007


async def test_a_broken_frame_ends_the_connection_with_1002(house: House) -> None:
    async with house.connected() as peer:
        connection = peer.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.write(struct.pack("!BB4s", 0x83, 0x80, b"mask"))  # opcode 3
        assert await peer.closed() == 1002
