"""`metadata.megabot` is ours to write and nobody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.relay.corner import (
    mentions,
    with_corner,
    without_corner,
    without_inner_corners,
)

PLAIN = (
    b'{"id": "m1", "type": "chat_send", "payload": {"content": "1e400 \\u00e9"}, "timestamp": 1.50}'
)


def test_a_message_without_the_corner_keeps_every_byte() -> None:
    assert not mentions(PLAIN)
    assert without_corner(PLAIN) == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":"m1","payload":{"megabot":1}}',
        b'{"id":"m1","metadata":{"a":"\\"megabot\\""}}',
        b'{"id":"m1","metadata":["megabot"]}',
        b'{"id":"m1","metadata":null,"x":"megabot"}',
        b'"megabot"',
        b'{"megabot" broken',
    ],
)
def test_the_word_elsewhere_is_left_alone(text: bytes) -> None:
    assert without_corner(text) == text


def test_what_somebody_else_puts_there_is_taken_out_and_the_rest_keeps_its_text() -> None:
    text = b'{"id":"m1","payload":{"n":1.0e2},"metadata":{"megabot":{"read_only":true},"k":10.00}}'
    assert without_corner(text) == b'{"id":"m1","payload":{"n":1.0e2},"metadata":{"k":10.00}}'


def test_metadata_that_held_nothing_else_goes_with_it() -> None:
    assert without_corner(b'{"id":"m1","metadata":{"megabot":1}}') == b'{"id":"m1"}'


def test_what_is_inside_a_batch_loses_it_too_and_the_rest_keeps_its_text() -> None:
    inner = b'{"id":"m1","payload":{"n":1.0e2},"metadata":{"megabot":1}}'
    hidden = b'{"id":"m2","metadata":{"m\\u0065gabot":1,"k":2}}'
    batch = b'{"type":"batch","payload":{"k":1.0,"messages":[%b, %b,3]},"id":"b"}'
    bare = (b'{"id":"m1","payload":{"n":1.0e2}}', b'{"id":"m2","metadata":{"k":2}}')
    cleaned = b'{"type":"batch","payload":{"k":1.0,"messages":[%b,%b,3]},"id":"b"}' % bare
    assert without_inner_corners(batch % (inner, hidden)) == cleaned
    nested = b'{"type":"batch","payload":{"messages":[%b]}}'
    assert without_inner_corners(nested % (batch % (inner, hidden))) == nested % cleaned


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"batch","payload":{"messages":[ {"id":"m1","payload":"megabot"} ]}}',
        b'{"type":"batch","payload":{"messages":{"megabot":1}}}',
        b'{"type":"batch","payload":["megabot"]}',
        b'{"type":"batch","x":"megabot"}',
        b'"megabot"',
    ],
)
def test_a_batch_without_it_keeps_every_byte(text: bytes) -> None:
    assert without_inner_corners(text) is text


def test_the_corner_is_set_beside_what_is_there() -> None:
    text = b'{"id":"m1","metadata":{"reply_to":"q","megabot":"false"},"payload":{"n":1.0e2}}'
    marked = with_corner(text, {"cursor": "e:1"})
    assert json.loads(marked)["metadata"] == {"reply_to": "q", "megabot": {"cursor": "e:1"}}
    assert b'{"n":1.0e2}' in marked


@pytest.mark.parametrize("text", [b"plain text", b"[1]", b'{"metadata":3}', b"\xff"])
def test_text_with_no_place_for_it_stays_as_it_is(text: bytes) -> None:
    assert with_corner(text, {"cursor": "e:1"}) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


FIELDS = st.dictionaries(st.text(), JSON, max_size=4)


@given(FIELDS, FIELDS)
def test_setting_it_and_taking_it_out_again_changes_nothing(
    fields: dict[str, Any], metadata: dict[str, Any]
) -> None:
    metadata.pop("megabot", None)
    message = {**fields, "metadata": {**metadata, "kept": 1}}
    text = json.dumps(message).encode()
    assert json.loads(without_corner(with_corner(text, {"cursor": "e:1"}))) == message
