"""Looking at a message without touching it, and writing one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from megabot_cli.errors import BadData
from megabot_cli.protocol.envelope import (
    Head,
    HeadMetadata,
    build,
    open_envelope,
    peek,
    seconds,
    wire_size,
)
from megabot_cli.protocol.validation import check
from tests.protocol.arbitrary import anything, envelopes, halves, json_texts, json_values


def text_or_none(fields: Any, name: str) -> str | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        return None
    return value


def seen_in(fields: dict[str, Any]) -> tuple[str | None, ...]:
    metadata = fields.get("metadata")
    return (
        text_or_none(fields, "id"),
        text_or_none(fields, "type"),
        text_or_none(metadata, "user_id"),
        text_or_none(metadata, "session_id"),
        text_or_none(metadata, "reply_to"),
    )


def seen_by(head: Head) -> tuple[str | None, ...]:
    return (head.id, head.type, head.user_id, head.session_id, head.reply_to)


# -- peek ---------------------------------------------------------------------------------------


@given(json_texts(envelopes()))
def test_peek_sees_in_any_envelope_what_a_json_parser_sees(text: str) -> None:
    head = peek(text)
    assert head is not None
    assert seen_by(head) == seen_in(json.loads(text))
    assert peek(text.encode()) == head


@given(json_texts(envelopes(json_values | halves)))
def test_peek_sees_the_same_where_characters_were_cut_in_half(text: str) -> None:
    whole = not any("\ud800" <= letter <= "\udfff" for letter in text)
    head = peek(text)
    if whole:  # the halves, if any, are escapes: legal JSON
        assert head is not None
        assert seen_by(head) == seen_in(json.loads(text))


@given(anything)
def test_any_text_or_bytes_can_be_peeked_at(text: bytes | str) -> None:
    head = peek(text)
    for seen in seen_by(head) if head is not None else ():
        assert seen is None or seen.encode().decode() == seen


@given(anything)
def test_any_text_or_bytes_can_be_opened(text: bytes | str) -> None:
    envelope = open_envelope(text)
    if envelope is not None:
        head = peek(text)
        assert head is not None
        assert (envelope.id, envelope.type) == (head.id, head.type)


@pytest.mark.parametrize(
    "text", ["", "hi", "[]", "7", "null", '"x"', "{", "{} {}", b"\xff", b"\x00"]
)
def test_what_is_no_json_object_has_no_head(text: bytes | str) -> None:
    assert peek(text) is None
    assert open_envelope(text) is None


def test_an_object_of_another_dialect_has_a_head_with_what_it_has() -> None:
    assert peek('{"type":"message","content":"hi"}') == Head(type="message")
    assert peek("{}") == Head()
    assert open_envelope('{"type":"message","content":"hi"}') is None


def test_a_field_of_another_type_does_not_hide_the_others() -> None:
    text = '{"id":17,"type":"x","metadata":{"user_id":42,"session_id":"s","reply_to":null}}'
    assert peek(text) == Head(None, "x", HeadMetadata(None, "s", None))
    assert peek('{"id":"m","type":"x","metadata":"none"}') == Head("m", "x", None)


@pytest.mark.parametrize("beside", ['"user_id":"u"', '"user_id":7', '"user_id":"\\ud83d"'])
def test_the_relays_corner_is_there_also_where_it_holds_nothing(beside: str) -> None:
    def metadata_of(text: str) -> HeadMetadata:
        head = peek(text)
        assert head is not None
        assert head.metadata is not None
        return head.metadata

    for corner in ("null", '{"cursor":"e:1"}', "7"):
        text = f'{{"id":"m","metadata":{{{beside},"megabot":{corner}}}}}'
        assert metadata_of(text).megabot is not UNSET
    assert metadata_of(f'{{"id":"m","metadata":{{{beside}}}}}').megabot is UNSET


def test_a_payload_cut_within_a_character_does_not_hide_the_head() -> None:
    text = '{"id":"m","type":"chat_send","payload":{"content":"cut \\ud83d"}}'
    assert peek(text) == Head("m", "chat_send")
    assert peek(text.encode()) == Head("m", "chat_send")


def test_an_id_cut_within_a_character_is_none() -> None:
    assert peek('{"id":"\\ud83d","type":"x"}') == Head(None, "x")


def test_a_text_that_cannot_travel_has_no_head() -> None:
    assert peek('{"id":"m","type":"x","payload":"\ud83d"}') is None
    assert peek('{"id":"\ud83d\\ud83d","type":"x"}') == Head(None, "x")


def test_keys_may_be_escaped_repeated_and_in_any_order() -> None:
    text = '{"payload":0,"\\u0074ype":"first","type":"last","metadata":{},"id":"m"}'
    assert peek(text) == Head("m", "last", HeadMetadata())


def test_a_payload_of_a_hundred_thousand_levels_is_not_followed() -> None:
    text = '{"id":"m","type":"x","payload":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert peek(text) is None
    assert open_envelope(text) is None
    cut = '{"id":"\\ud83d","type":"x","payload":' + '{"a":' * 100_000
    assert peek(cut) is None


# -- open_envelope ------------------------------------------------------------------------------


@given(json_texts(envelopes()))
def test_an_envelope_keeps_the_exact_text_of_payload_and_timestamp(text: str) -> None:
    envelope, fields = open_envelope(text), json.loads(text)
    if envelope is None:
        return
    for raw, name in ((envelope.payload, "payload"), (envelope.timestamp, "timestamp")):
        kept = bytes(raw).decode()
        assert kept in text
        assert (json.loads(kept) if kept else None) == fields.get(name)
    assert envelope.decoded_payload() == fields["payload"]


def test_numbers_keep_the_way_they_were_written() -> None:
    text = '{"id":"m","type":"x","payload":1.10,"timestamp":1640995200.000}'
    envelope = open_envelope(text)
    assert envelope is not None
    assert bytes(envelope.payload) == b"1.10"
    assert bytes(envelope.timestamp) == b"1640995200.000"


@pytest.mark.parametrize("payload", ["1e999", "9" * 5000])
def test_a_payload_without_a_python_value_is_bad_data(payload: str) -> None:
    envelope = open_envelope(f'{{"id":"m","type":"x","payload":{{"n":{payload}}}}}')
    assert envelope is not None
    with pytest.raises(BadData, match="the payload cannot be read"):
        envelope.decoded_payload()


# -- build --------------------------------------------------------------------------------------


@given(
    st.text(min_size=1, max_size=20),
    st.text(min_size=1, max_size=20),
    json_values,
    st.floats(min_value=0, max_value=4e9),
    st.none() | st.dictionaries(st.text(max_size=8), json_values, max_size=3),
)
def test_what_is_built_says_what_was_given(
    message_id: str, kind: str, payload: Any, at: float, metadata: dict[str, Any] | None
) -> None:
    fields = json.loads(build(message_id, kind, payload, at=at, metadata=metadata))
    assert (fields["id"], fields["type"]) == (message_id, kind)
    assert fields["payload"] == payload
    assert fields.get("metadata") == (metadata or None)
    assert math.isclose(fields["timestamp"], at, abs_tol=0.000_501)


def test_a_built_message_is_valid_and_always_has_a_time() -> None:
    text = build("msg_1", "chat_send", {"content": "hi"}, at=1640995200.12345)
    assert check(text) is None
    assert text == (
        '{"id":"msg_1","type":"chat_send","payload":{"content":"hi"},"timestamp":1640995200.123}'
    )


@pytest.mark.parametrize("payload", ["\ud800", {"a": object()}, {"a": {1: "b", (2,): "c"}}])
def test_what_json_or_utf8_cannot_say_is_bad_data(payload: Any) -> None:
    with pytest.raises(BadData, match="cannot be written as JSON"):
        build("m", "x", payload, at=0)


def test_a_payload_that_holds_itself_is_bad_data() -> None:
    payload: list[Any] = []
    payload.append(payload)
    with pytest.raises(BadData):
        build("m", "x", payload, at=0)


# -- time and size ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (0, 0),
        (1640995200, 1640995200),
        (99_999_999_999, 99_999_999_999),
        (100_000_000_000, 100_000_000),
        (1640995200123, 1640995200.123),
    ],
)
def test_a_timestamp_from_1e11_on_is_milliseconds(timestamp: float, expected: float) -> None:
    assert seconds(timestamp) == expected


@given(st.text(max_size=50))
def test_the_size_of_a_text_is_that_of_its_bytes(text: str) -> None:
    assert wire_size(text) == wire_size(text.encode()) == len(text.encode())


@given(halves)
def test_a_text_that_cannot_travel_has_a_size_all_the_same(text: str) -> None:
    assert wire_size(text) > 0
