"""Messages by themselves, one a line: what is known of each is what it says itself.

A line is a JSON object as it travelled. A message that is no such object (plain text, or
JSON over several lines) is a JSON string of its exact text.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE, Head, peek, seconds
from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.recording.answers import ids_in, messages_in, payload_of
from megabot_cli.recording.record import LATEST_S, Record

_MOST_REMEMBERED: Final = 10_000
_FLAT_OF_CLIENTS: Final = ("set_mode", "command", "approve_action", "reject_action")


class BadMessage(ValueError):
    """A line that is no message; the text says why."""


class _Times(msgspec.Struct):
    timestamp: Any = None


_string_decoder = msgspec.json.Decoder(str)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_times_decoder = msgspec.json.Decoder(_Times)


def write_line(record: Record) -> bytes | None:
    """The line of a message, without a newline; None for a record that holds no text."""
    text = record.data
    if text is None or record.kind not in ("message", "inject"):
        return None
    line = text.encode()
    if b"\n" in line or b"\r" in line or not _is_object(line):
        return msgspec.json.encode(text)
    return line


def _is_object(line: bytes) -> bool:
    if not line.startswith(b"{"):
        return False
    try:
        _object_decoder.decode(line)
    except UNREADABLE:
        return peek(line) is not None  # half of a surrogate pair, which is JSON all the same
    return True


def read_line(line: bytes) -> str:
    """The text of a message. BadMessage when the line is none."""
    if line.startswith(b'"'):
        try:
            return _string_decoder.decode(line)
        except UNREADABLE as fault:
            raise BadMessage(str(fault)) from None
    if peek(line) is None:
        raise BadMessage("it is no JSON object")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise BadMessage("it is not UTF-8") from None


def said_at_s(text: str) -> float | None:
    """The time that a message gives for itself, in Unix seconds."""
    try:
        at = _times_decoder.decode(text).timestamp
    except UNREADABLE:
        return None
    if not isinstance(at, int | float) or isinstance(at, bool):
        return None
    return at_s if 0 <= (at_s := seconds(at)) <= LATEST_S else None


class Directions:
    """Tells which way messages went, one after the other: by type, and by who answers whom.

    `tool_call` and `tool_result` go both ways: a result goes against its call, and a call
    goes to the upstream unless it replies to something.
    """

    def __init__(self) -> None:
        self._calls: dict[str, str] = {}

    def of(self, text: str) -> str:
        head, inner = next(iter(messages_in(text)), (None, text))
        if head is None:
            return "to_client"  # the flat dialect refuses in plain text
        execution_id = _execution_id(inner) if head.type in ("tool_call", "tool_result") else None
        direction = (
            self._calls.pop(execution_id or "", None) if head.type == "tool_result" else None
        )
        if direction is not None:
            return "to_upstream" if direction == "to_client" else "to_client"
        direction = _by_type(head, text)
        if head.type == "tool_call" and execution_id is not None:
            self._remember(execution_id, direction)
        return direction

    def _remember(self, execution_id: str, direction: str) -> None:
        self._calls[execution_id] = direction
        if len(self._calls) > _MOST_REMEMBERED:
            del self._calls[next(iter(self._calls))]


def _by_type(head: Head, text: str) -> str:
    kind = MESSAGE_TYPES.get(head.type or "")
    if kind is not None and kind.sent_by != "both":
        return "to_upstream" if kind.sent_by == "client" else "to_client"
    if head.type in _FLAT_OF_CLIENTS:
        return "to_upstream"
    if head.id is None:  # the flat dialect: MegaBot's own messages say who sent them
        return "to_upstream" if head.type == "message" and '"sender"' not in text else "to_client"
    return "to_client" if head.reply_to is not None else "to_upstream"


def _execution_id(text: str | bytes) -> str | None:
    return ids_in(payload_of(text)).get("execution_id")
