"""`metadata.megabot`: the relay's own corner of a message.

Added only for clients that ask for it (subprotocol `megabot.relay.v1`), and taken out of
what clients and upstream send, so that nobody else can speak in the relay's name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE, peek
from megabot_cli.protocol.messages import MAX_BATCH

SUBPROTOCOL = "megabot.relay.v1"

# What is looked into of a batch. The specification knows no batch in a batch.
MOST_IN_A_BATCH = 10 * MAX_BATCH
DEEPEST = 2

_MARK = b'"megabot"'

# JSON may hide a letter of a name behind an escape.
_ESCAPE = b"\\u"

_Fields = dict[str, msgspec.Raw]
_fields_decoder = msgspec.json.Decoder(_Fields)
_messages_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def mentions(data: bytes) -> bool:
    """Whether a message may hold the corner at all; it almost never does."""
    return _MARK in data


def without_corner(data: bytes) -> bytes:
    """The message without `metadata.megabot`; the very same text where there is none.

    Everything else keeps its text; only the white space between the outer fields is lost.
    """
    fields = _read(data)
    metadata = _read(fields.get("metadata", b"")) if fields is not None else None
    if fields is None or metadata is None or "megabot" not in metadata:
        return data
    del metadata["megabot"]
    if metadata:
        fields["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
    else:
        del fields["metadata"]
    return msgspec.json.encode(fields)


def without_inner_corners(data: bytes, deep: int = 1) -> bytes:
    """A `batch` whose messages are without the corner; the very same text where none has it.

    What is in it beyond `MOST_IN_A_BATCH` or `DEEPEST` stays as it is.
    """
    if not mentions(data) and _ESCAPE not in data:
        return data
    fields = _read(data) or {}
    payload = _read(fields.get("payload", b"")) or {}
    try:
        messages = _messages_decoder.decode(payload.get("messages", b""))
    except UNREADABLE:
        return data
    if len(messages) > MOST_IN_A_BATCH:
        return data
    cleaned = [without_corner(bytes(message)) for message in messages]
    if deep < DEEPEST:
        cleaned = [
            without_inner_corners(each, deep + 1) if _is_batch(each) else each for each in cleaned
        ]
    if all(new == bytes(old) for new, old in zip(cleaned, messages, strict=True)):
        return data
    payload["messages"] = msgspec.Raw(b"[" + b",".join(cleaned) + b"]")
    fields["payload"] = msgspec.Raw(msgspec.json.encode(payload))
    return msgspec.json.encode(fields)


def with_corner(data: bytes, corner: dict[str, Any]) -> bytes:
    """The message with our corner set; the very same text where it has no place for one."""
    fields = _read(data)
    if fields is None:
        return data
    metadata = _read(fields["metadata"]) if "metadata" in fields else {}
    if metadata is None:
        return data
    metadata["megabot"] = msgspec.Raw(msgspec.json.encode(corner))
    fields["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
    return msgspec.json.encode(fields)


def _is_batch(data: bytes) -> bool:
    head = peek(data)
    return head is not None and head.type == "batch"


def _read(data: bytes | msgspec.Raw) -> _Fields | None:
    try:
        return _fields_decoder.decode(data)
    except UNREADABLE:
        return None
