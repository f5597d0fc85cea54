"""Every message that the specification shows is one that we read."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from megabot_cli.protocol.envelope import open_envelope, peek, seconds
from megabot_cli.protocol.messages import MESSAGE_TYPES, Batch, ChatSend, CollaborativeAction
from megabot_cli.protocol.validation import Message, check, read
from tests.protocol.specification_texts import EVERYTHING, EXAMPLES, SENT_BY_SNIPPETS

each_message = pytest.mark.parametrize("text", EVERYTHING.values(), ids=EVERYTHING.keys())


@each_message
def test_a_message_of_the_specification_is_valid(text: str) -> None:
    assert check(text) is None
    assert check(text.encode()) is None


@each_message
def test_peek_sees_the_outer_fields_of_a_message_of_the_specification(text: str) -> None:
    head, fields = peek(text), json.loads(text)
    assert head is not None
    assert (head.id, head.type) == (fields["id"], fields["type"])
    assert head.session_id == fields.get("metadata", {}).get("session_id")
    assert head.user_id == fields.get("metadata", {}).get("user_id")
    assert head.reply_to is None


@each_message
def test_an_envelope_keeps_payload_and_timestamp_of_the_specification_as_text(text: str) -> None:
    envelope, fields = open_envelope(text), json.loads(text)
    assert envelope is not None
    assert bytes(envelope.payload).decode() in text
    assert envelope.decoded_payload() == fields["payload"]
    assert bytes(envelope.timestamp).decode() == str(fields.get("timestamp", ""))


@each_message
def test_a_declared_payload_holds_every_field_that_the_specification_shows(text: str) -> None:
    message, fields = read(text), json.loads(text)
    assert isinstance(message, Message)
    assert isinstance(message.payload, MESSAGE_TYPES[fields["type"]].payload)
    declared = {field.encode_name for field in msgspec.structs.fields(message.payload)}
    assert set(fields["payload"]) <= declared


def test_the_specification_shows_every_type_that_is_declared() -> None:
    assert {json.loads(text)["type"] for text in EVERYTHING.values()} == set(MESSAGE_TYPES)


def test_examples_are_filed_by_their_type() -> None:
    assert {name: json.loads(text)["type"] for name, text in EXAMPLES.items()} == {
        name: name for name in EXAMPLES
    }


def test_the_specifications_own_chat_send_may_omit_the_timestamp() -> None:
    message = read(EXAMPLES["chat_send"])
    assert isinstance(message, Message)
    assert message.timestamp is None
    assert message.payload == ChatSend("Hello MegaBot!", platform="web", attachments=[])


def test_examples_in_seconds_and_snippets_in_milliseconds_mean_the_same_time() -> None:
    in_seconds = read(EXAMPLES["connection_established"])
    in_milliseconds = read(SENT_BY_SNIPPETS["sent_by_chat_client"])
    assert isinstance(in_seconds, Message)
    assert isinstance(in_milliseconds, Message)
    assert in_seconds.timestamp is not None
    assert in_milliseconds.timestamp is not None
    later = seconds(in_milliseconds.timestamp) - seconds(in_seconds.timestamp)
    assert math.isclose(later, 0.123, abs_tol=1e-6)


def test_the_data_of_an_action_arrives_whole() -> None:
    message = read(SENT_BY_SNIPPETS["sent_by_collaborative_session_cursor_move"])
    assert isinstance(message, Message)
    assert isinstance(message.payload, CollaborativeAction)
    assert message.payload.data == {"position": {"line": 3, "column": 14}}


def test_the_batchers_message_holds_two_messages() -> None:
    message = read(SENT_BY_SNIPPETS["sent_by_message_batcher"])
    assert isinstance(message, Message)
    assert isinstance(message.payload, Batch)
    assert len(message.payload.messages) == 2
