"""The outer fields of a message, read without touching its payload.

A forwarded message is the exact text that arrived; what stands here only looks.
"""

from __future__ import annotations

from typing import Any

import msgspec

MILLISECONDS_FROM = (
    1e11  # A Unix time at or above this is milliseconds: as seconds it is the year 5138.
)


class HeadMetadata(msgspec.Struct, gc=False):
    """The metadata that decides where a message goes."""

    user_id: str | None = None
    session_id: str | None = None
    reply_to: str | None = None


class Head(msgspec.Struct, gc=False):
    """What `peek` saw. A field that is missing in the message is None."""

    id: str | None = None
    type: str | None = None
    metadata: HeadMetadata | None = None

    @property
    def session_id(self) -> str | None:
        return self.metadata.session_id if self.metadata is not None else None

    @property
    def user_id(self) -> str | None:
        return self.metadata.user_id if self.metadata is not None else None

    @property
    def reply_to(self) -> str | None:
        return self.metadata.reply_to if self.metadata is not None else None


class Envelope(msgspec.Struct, omit_defaults=True):
    """One whole message, its payload and timestamp still the text that travelled."""

    id: str
    type: str
    payload: msgspec.Raw
    timestamp: msgspec.Raw = msgspec.Raw()
    metadata: dict[str, Any] | None = None

    def decoded_payload(self) -> Any:
        return msgspec.json.decode(self.payload)


_head_decoder = msgspec.json.Decoder(Head)
_envelope_decoder = msgspec.json.Decoder(Envelope)


def peek(text: bytes | str) -> Head | None:
    """Read id, type and routing metadata of a message; None when it is no envelope.

    None means: not JSON, no object, or one of those fields is of another type. Such a
    message is forwarded all the same. The text inside skipped fields is not checked.
    """
    try:
        return _head_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def open_envelope(text: bytes | str) -> Envelope | None:
    """Split a message into its fields, the payload kept as text; None when it is no envelope."""
    try:
        return _envelope_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def build(
    message_id: str,
    message_type: str,
    payload: Any,
    *,
    at: float,
    metadata: dict[str, Any] | None = None,
) -> str:
    """Write a message. `at` is Unix seconds; it leaves with a fraction of milliseconds."""
    envelope: dict[str, Any] = {
        "id": message_id,
        "type": message_type,
        "payload": payload,
        "timestamp": round(at, 3),
    }
    if metadata:
        envelope["metadata"] = metadata
    return msgspec.json.encode(envelope).decode()


def seconds(timestamp: float) -> float:
    """Read a timestamp that may be seconds or milliseconds (the specification shows both)."""
    return timestamp / 1000 if timestamp >= MILLISECONDS_FROM else timestamp


def wire_size(text: bytes | str) -> int:
    """The bytes a message takes on the wire, in UTF-8."""
    return len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
