"""One declaration per type serves all who ask."""

from __future__ import annotations

import msgspec
import pytest

from megabot_cli.protocol.messages import MESSAGE_TYPES, MessageType
from tests.protocol.samples import PAYLOADS

each_type = pytest.mark.parametrize("kind", MESSAGE_TYPES.values(), ids=MESSAGE_TYPES.keys())


def test_the_types_are_the_specifications_twelve() -> None:
    assert sorted(MESSAGE_TYPES) == [
        "batch",
        "chat_receive",
        "chat_send",
        "chat_stream",
        "collaborative_action",
        "connection_error",
        "connection_established",
        "notification",
        "session_join",
        "status_update",
        "tool_call",
        "tool_result",
    ]


def test_only_what_a_later_one_makes_needless_may_be_merged() -> None:
    mergeable = {name for name, kind in MESSAGE_TYPES.items() if kind.mergeable}
    assert mergeable == {"chat_stream", "status_update"}


@each_type
def test_a_declaration_can_be_written_as_a_json_schema(kind: MessageType) -> None:
    assert kind.payload.__name__ in msgspec.json.schema(kind.payload)["$defs"]


@each_type
def test_a_payload_with_keys_nobody_declared_is_read(kind: MessageType) -> None:
    with_more = PAYLOADS[kind.name] | {"invented_later": {"a": [1, None]}}
    payload = msgspec.json.decode(msgspec.json.encode(with_more), type=kind.payload)
    assert isinstance(payload, kind.payload)
