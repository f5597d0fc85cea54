"""The outer fields of a message, read without touching its payload.

A forwarded message is the exact text that arrived; what stands here only looks.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec

from megabot_cli.errors import BadData

MILLISECONDS_FROM = (
    1e11  # A Unix time at or above this is milliseconds: as seconds it is the year 5138.
)


class HeadMetadata(msgspec.Struct, gc=False):
    """The metadata that decides where a message goes."""

    user_id: str | None = None
    session_id: str | None = None
    reply_to: str | None = None
    # The relay's own corner, unread; it is there also where it holds null.
    megabot: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Head(msgspec.Struct, gc=False):
    """What `peek` saw. A field that is missing, or of another type than it should be, is None."""

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
        """The payload as Python values.

        Raises `BadData` for legal JSON that has no such values: a number beyond the range
        of a float, thousands of digits or of levels.
        """
        try:
            return msgspec.json.decode(self.payload)
        except UNREADABLE as fault:
            raise BadData(f"the payload cannot be read: {fault}") from fault


class _LooseHead(msgspec.Struct):
    id: Any = None
    type: Any = None
    metadata: Any = None


# All that the decoder raises for a text it cannot read. The Unicode errors come from bytes
# that are no UTF-8 and from Python text that holds half of a surrogate pair.
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)

_head_decoder = msgspec.json.Decoder(Head)
_loose_decoder = msgspec.json.Decoder(_LooseHead)
_envelope_decoder = msgspec.json.Decoder(Envelope)


# What nearly every message needs of `peek`, without the call around it; it raises `UNREADABLE`
# for the others.
decode_head = _head_decoder.decode


def peek(text: bytes | str) -> Head | None:
    """Read id, type and routing metadata of a message; None when it is no JSON object.

    Raises nothing, whatever came: a message that cannot be read is forwarded all the same.
    The text inside skipped fields is not checked.
    """
    try:
        return _head_decoder.decode(text)
    except msgspec.ValidationError:
        return _peek_loosely(text)
    except UNREADABLE:
        return _head_of(_fields_with_halves(text))


def _peek_loosely(text: bytes | str) -> Head | None:
    """A field of the wrong type must not cost us the others: they route the message."""
    try:
        loose = _loose_decoder.decode(text)
    except UNREADABLE:
        return _head_of(_fields_with_halves(text))
    return _head_of(msgspec.structs.asdict(loose))


def _head_of(fields: dict[str, Any] | None) -> Head | None:
    if fields is None:
        return None
    metadata = fields.get("metadata")
    return Head(
        _text(fields, "id"),
        _text(fields, "type"),
        HeadMetadata(
            _text(metadata, "user_id"),
            _text(metadata, "session_id"),
            _text(metadata, "reply_to"),
            msgspec.Raw(b"null") if "megabot" in metadata else msgspec.UNSET,
        )
        if isinstance(metadata, dict)
        else None,
    )


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and not _has_half(value) else None


def holds_half_characters(text: bytes | str) -> bool:
    """Whether a message is JSON but for escapes that are half of a surrogate pair.

    JavaScript writes them when a text was cut within a character: legal JSON (RFC 8259, 8.2)
    that stands for no Unicode text.
    """
    return _fields_with_halves(text) is not None


def _fields_with_halves(text: bytes | str) -> dict[str, Any] | None:
    """Read what only the slow decoder can, and only where such an escape is in the text."""
    marks = (b"\\ud", b"\\uD") if isinstance(text, bytes) else ("\\ud", "\\uD")
    if not any(mark in text for mark in marks):  # type: ignore[operator]
        return None
    try:
        whole = text.decode() if isinstance(text, bytes) else text
        fields = json.loads(whole, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _has_half(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def open_envelope(text: bytes | str) -> Envelope | None:
    """Split a message into its fields, the payload kept as text; None when it is no envelope.

    None means: no JSON object, a required field missing or of another type, or metadata
    that has no Python values (see `Envelope.decoded_payload`).
    """
    try:
        return _envelope_decoder.decode(text)
    except UNREADABLE:
        return None


def build(
    message_id: str,
    message_type: str,
    payload: Any,
    *,
    at: float,
    metadata: dict[str, Any] | None = None,
) -> str:
    """Write a message. `at` is Unix seconds; it leaves with a fraction of milliseconds.

    Raises `BadData` for what JSON or UTF-8 cannot say.
    """
    envelope: dict[str, Any] = {
        "id": message_id,
        "type": message_type,
        "payload": payload,
        "timestamp": round(at, 3),
    }
    if metadata:
        envelope["metadata"] = metadata
    try:
        return msgspec.json.encode(envelope).decode()
    except UnicodeEncodeError as fault:
        raise BadData(
            "the message cannot be written as JSON: it holds what is no UTF-8 text "
            f"(at character {fault.start + 1} of a text)"
        ) from fault
    except (TypeError, ValueError, OverflowError, RecursionError) as fault:
        raise BadData(f"the message cannot be written as JSON: {fault}") from fault


def seconds(timestamp: float) -> float:
    """Read a timestamp that may be seconds or milliseconds (the specification shows both)."""
    return timestamp / 1000 if timestamp >= MILLISECONDS_FROM else timestamp


def wire_size(text: bytes | str) -> int:
    """The bytes a message takes on the wire, in UTF-8."""
    return len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
