"""Say what is wrong with a message, and where in it."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

import msgspec

from megabot_cli.protocol.envelope import wire_size
from megabot_cli.protocol.messages import (
    MAX_CONTENT_UNITS,
    MESSAGE_TYPES,
    Batch,
    ChatSend,
    Notification,
    Payload,
    Text,
)

MAX_MESSAGE_BYTES = 1024 * 1024

P = TypeVar("P")


class _Metadata(msgspec.Struct):
    user_id: str | None = None
    session_id: str | None = None
    platform: str | None = None
    reply_to: str | None = None


class _Message(msgspec.Struct, Generic[P]):
    id: Text
    type: Text
    payload: P
    timestamp: float | None = None
    metadata: _Metadata | None = None


class _TypeOnly(msgspec.Struct):
    type: str = ""


_type_decoder = msgspec.json.Decoder(_TypeOnly)
_any_decoder = msgspec.json.Decoder(_Message[msgspec.Raw])
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(_Message[kind.payload])  # type: ignore[name-defined]
    for name, kind in MESSAGE_TYPES.items()
}
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]+)`)?$", re.DOTALL)
_EXPECTED_GOT = re.compile(
    r"Expected `(?P<expected>.*?)`(?P<bound> (?:of length )?[<>]=? ?\d+)?(?:, got `(?P<got>.*)`)?",
    re.DOTALL,
)


class Problem(msgspec.Struct, frozen=True):
    """Why a message is refused: the place in it, what belongs there, what stood there."""

    path: str
    expected: str
    got: str
    rule: str
    code: int = 400

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got} ({self.rule})"


def check(text: bytes | str, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Problem | None:
    """Return the first thing wrong with a message, or None when it is a valid one.

    `max_bytes` is measured on the wire text in UTF-8; 0 means no limit. Types that the
    specification does not name are valid when their outer fields are.
    """
    size = wire_size(text)
    if max_bytes and size > max_bytes:
        return Problem("$", f"at most {max_bytes} bytes", f"{size}", "message size", code=413)
    try:
        kind = _type_decoder.decode(text).type
        message = _decoders.get(kind, _any_decoder).decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        return _explain(str(fault), is_json=isinstance(fault, msgspec.ValidationError))
    return _beyond_types(message.payload)


def _beyond_types(payload: Any) -> Problem | None:
    """The rules that a type cannot say."""
    match payload:
        case ChatSend(content=content):
            units = utf16_units(content)
            if units > MAX_CONTENT_UNITS:
                limit = f"at most {MAX_CONTENT_UNITS} characters"
                return Problem("$.payload.content", limit, f"{units}", "chat_send content length")
        case Notification(title=None, message=None):
            rule = "notification says something"
            return Problem("$.payload", "title or message", "neither", rule)
        case Batch(messages=messages):
            return _check_batch(messages)
        case msgspec.Raw() as raw if bytes(raw) == b"null":
            return Problem("$.payload", "a value", "null", "required fields")
        case Payload():
            pass
    return None


def _check_batch(messages: list[msgspec.Raw]) -> Problem | None:
    for place, inner in enumerate(messages):
        path = f"$.payload.messages[{place}]"
        text = bytes(inner)
        try:
            is_batch = _type_decoder.decode(text).type == "batch"
        except msgspec.DecodeError:
            is_batch = False
        if is_batch:
            return Problem(path, "a message that is no batch", "a batch", "batches do not nest")
        problem = check(text, max_bytes=0)
        if problem is not None:
            return msgspec.structs.replace(problem, path=path + problem.path[1:])
    return None


def utf16_units(text: str) -> int:
    """Count characters as JavaScript's `length` does: one above U+FFFF counts as two."""
    return len(text) + sum(character > "\uffff" for character in text)


def _explain(fault: str, *, is_json: bool) -> Problem:
    if not is_json:
        return Problem("$", "JSON", "text that is not JSON", fault)
    match = _PLACE.match(fault)
    what, path = (match["what"], match["path"] or "$") if match else (fault, "$")
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        return Problem(f"{path}.{missing[1]}", "a value", "nothing", "required fields")
    parts = _EXPECTED_GOT.search(what)
    if parts:
        expected = parts["expected"] + (parts["bound"] or "")
        return Problem(path, expected, parts["got"] or "a value outside that", "declared type")
    return Problem(path, "another value", "what came", what)
