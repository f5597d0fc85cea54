"""`valid` reads a message once, and says what `check` and `peek` say of it together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.envelope import peek
from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.protocol.validation import check, valid
from tests.protocol.arbitrary import envelopes, json_texts
from tests.protocol.samples import ASTRAL, PAYLOADS, changed, message, without


def agrees(text: str) -> bool:
    """Whether `valid` takes it; that is what `check` and `peek` would come to."""
    data = text.encode("utf-8", "surrogatepass")
    found, head = valid(data), peek(data)
    kind = head.type if head is not None else None
    fine = check(data) is None and kind in MESSAGE_TYPES
    assert (found is not None) == fine
    if found is None:
        return False
    assert head is not None
    assert (found.id, found.type) == (head.id, head.type)
    for name in ("user_id", "session_id", "reply_to", "megabot"):
        assert getattr(found.metadata, name, None) == getattr(head.metadata, name, None)
    return True


METADATA: list[Any] = [
    {"reply_to": "m0", "user_id": "u", "session_id": "s", "platform": "p", "other": [1]},
    {"megabot": None},
    {"megabot": {"cursor": "e:1"}, "reply_to": "m0"},
    {},
    None,
]


@pytest.mark.parametrize("kind", PAYLOADS)
@pytest.mark.parametrize("metadata", METADATA)
def test_the_least_of_each_type_is_taken_with_what_its_head_says(kind: str, metadata: Any) -> None:
    assert agrees(message(kind, metadata=metadata, timestamp=1.5, extra={"type": "x"}))


@pytest.mark.parametrize(
    "text",
    [
        message("chat_send", id=""),
        message("chat_send", id=None),
        message("chat_send", type="my_type"),
        message("chat_send", type=7),
        message("chat_send", timestamp="now"),
        message("chat_send", metadata={"platform": 7}),
        message("chat_send", metadata={"reply_to": 7}),
        message("chat_send", metadata=[]),
        changed("chat_send", content="x" * 10_001),
        changed("chat_send", content=ASTRAL * 5_001),
        changed("chat_send", content=""),
        changed("chat_stream", sequence=0),
        without("notification", "title"),
        without("tool_call", "execution_id"),
        json.dumps({"id": "m", "type": "batch", "payload": {"messages": [{"type": "batch"}]}}),
        '{"id":"m","type":"chat_send","payload":{"content":"\\ud800"}}',
        '{"id":"m","type":"chat_send","payload":{"content":"\ud800"}}',
        "[]",
        "",
    ],
)
def test_whatever_is_wrong_is_left_to_the_check(text: str) -> None:
    assert not agrees(text)


@pytest.mark.parametrize("content", ["x" * 10_000, ASTRAL * 5_000, "é"])
def test_at_the_very_bound_it_is_taken(content: str) -> None:
    assert agrees(changed("chat_send", content=content))


@given(json_texts(envelopes()))
def test_of_anything_both_say_the_same(text: str) -> None:
    agrees(text)


@given(st.sampled_from(sorted(PAYLOADS)), envelopes())
def test_of_what_is_nearly_right_both_say_the_same(kind: str, outer: dict[str, Any]) -> None:
    agrees(message(kind, **{name: outer[name] for name in outer if name != "payload"}))


def test_the_last_of_two_equal_keys_counts_for_both() -> None:
    twice = (
        '{"id":"a","id":"b","type":"chat_send","payload":{"content":"x"},"payload":{"content":"y"}}'
    )
    assert agrees(twice)
    other = '{"id":"a","type":"chat_send","type":"my_type","payload":{"content":"x"}}'
    assert valid(other.encode()) is None
