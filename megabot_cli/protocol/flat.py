"""The flat dialect: `{"type": …, "content": …}` without envelope, read as messages of ours.

Some MegaBot servers speak it. It has no ids, no sessions and no chunks; a refusal is plain
text. What comes in is put into an envelope, what goes out is taken out of one, so that all
between them is the same for both dialects. Times are handed in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE, build, open_envelope
from megabot_cli.protocol.messages import MAX_CONTENT_UNITS
from megabot_cli.protocol.validation import Problem, utf16_units

SENDER: Final = "MegaBot"

# What a client may send: the one field that each type has.
FIELDS: Final = {
    "message": "content",
    "set_mode": "mode",
    "command": "command",
    "approve_action": "action_id",
    "reject_action": "action_id",
}

# Those that let something be carried out, or not: of an action that is named as it was then.
DECISIONS: Final = frozenset({"approve_action", "reject_action"})

# The type that answers each of them.
ANSWERS: Final = {
    "message": "message",
    "set_mode": "mode_updated",
    "command": "status",
    "approve_action": "status",
    "reject_action": "status",
}
ANSWERED_BY: Final = frozenset(ANSWERS.values())


def write(message_type: str, fields: dict[str, Any]) -> bytes:
    """The wire text of a flat message; its type stands first whatever `fields` holds."""
    rest = {name: value for name, value in fields.items() if name != "type"}
    return msgspec.json.encode({"type": message_type, **rest})


def is_refusal(text: bytes) -> bool:
    """Whether it is the plain text by which this dialect refuses."""
    return text[:6].lower() in (b"error ", b"error:")


def said(content: str, at: float) -> bytes:
    """A `message` of MegaBot; `at` is Unix seconds."""
    moment = datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds")
    return write("message", {"content": content, "sender": SENDER, "timestamp": moment})


def check(text: bytes | str) -> Problem | None:
    """Say what is wrong with a message of a client."""
    found = _read(text)
    return found if isinstance(found, Problem) else None


def to_envelope(text: bytes | str, message_id: str, at: float) -> bytes | Problem:
    """A client's message in an envelope: `message` is a `chat_send`, others keep their type."""
    found = _read(text)
    if isinstance(found, Problem):
        return found
    message_type, field, value = found
    name = "chat_send" if message_type == "message" else message_type
    return build(message_id, name, {field: value}, at=at).encode()


def from_envelope(text: bytes, at: float) -> bytes | None:
    """What a flat client hears for a message of the gateway; None for what it does not hear.

    Chunks are left out, as the whole answer follows them. An error is a line of plain text.
    """
    envelope = open_envelope(text)
    payload = _payload(text) if envelope is not None else None
    if envelope is None or payload is None:
        return text
    match envelope.type:
        case "chat_stream":
            return None
        case "chat_receive":
            return said(str(payload.get("content", "")), at)
        case "connection_error":
            words = payload.get("message") or payload.get("error") or "refused"
            return f"Error {payload.get('code', 500)}: {words}".encode()
        case message_type:
            return write(message_type, payload)


def _read(text: bytes | str) -> tuple[str, str, str] | Problem:
    """Type, field and value of a client's message."""
    try:
        message: Any = msgspec.json.decode(text)
    except UNREADABLE:
        return Problem("$", "JSON", "text that is no JSON", "a flat message is a JSON object")
    if not isinstance(message, dict):
        return Problem("$", "object", _kind(message), "a flat message is a JSON object")
    message_type = message.get("type")
    if not isinstance(message_type, str) or message_type not in FIELDS:
        got = message_type[:100] if isinstance(message_type, str) else _kind(message_type)
        return Problem("$.type", " or ".join(FIELDS), got, "other types are not known")
    field = FIELDS[message_type]
    value = message.get(field)
    if not isinstance(value, str) or not value:
        got = "an empty text" if value == "" else _kind(value)
        return Problem(f"$.{field}", "text", got, f"a {message_type} has a {field}")
    units = utf16_units(value)
    if units > MAX_CONTENT_UNITS:
        rule = f"at most {MAX_CONTENT_UNITS} characters"
        return Problem(f"$.{field}", rule, f"{units} characters", rule)
    return message_type, field, value


def _payload(text: bytes) -> dict[str, Any] | None:
    try:
        payload = msgspec.json.decode(text)["payload"]
    except UNREADABLE:
        return None
    return payload if isinstance(payload, dict) else None


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "an object"
