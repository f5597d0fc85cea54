"""Say what is wrong with a message, and where in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, Union

import msgspec

from megabot_cli.protocol.envelope import (
    UNREADABLE,
    HeadMetadata,
    holds_half_characters,
    wire_size,
)
from megabot_cli.protocol.messages import (
    MAX_CONTENT_UNITS,
    MESSAGE_TYPES,
    Batch,
    ChatSend,
    Notification,
    Payload,
    Text,
)
from megabot_cli.wording import counted

MAX_MESSAGE_BYTES = 1024 * 1024

P = TypeVar("P")


class Metadata(msgspec.Struct):
    """The metadata keys that have a meaning; others pass unread."""

    user_id: str | None = None
    session_id: str | None = None
    platform: str | None = None
    reply_to: str | None = None


class Message(msgspec.Struct, Generic[P]):
    """A valid message, its payload decoded as its type declares (unknown types: `msgspec.Raw`)."""

    id: Text
    type: Text
    payload: P
    timestamp: float | None = None
    metadata: Metadata | None = None


class ValidMessage(Protocol):
    """A message of a type that the specification names, with which nothing is wrong."""

    id: str
    type: str
    payload: Payload
    metadata: HeadMetadata | None


class _KnownMetadata(HeadMetadata, gc=False):
    """The same keys as `Metadata`, and the relay's own corner, unread."""

    platform: str | None = None


class _TypeOnly(msgspec.Struct):
    type: str = ""


_type_decoder = msgspec.json.Decoder(_TypeOnly)
_any_decoder = msgspec.json.Decoder(Message[msgspec.Raw])
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(Message[kind.payload])  # type: ignore[name-defined]
    for name, kind in MESSAGE_TYPES.items()
}
# The same messages, told apart while they are decoded: their head need not be read before.
_known_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    Union[  # noqa: UP007  # of what is only known now
        tuple(
            msgspec.defstruct(
                f"Valid_{name}",
                [
                    ("id", Text),
                    ("payload", kind.payload),
                    ("timestamp", float | None, None),
                    ("metadata", _KnownMetadata | None, None),
                ],
                tag_field="type",
                tag=name,
                namespace={"type": name},
                gc=False,
            )
            for name, kind in MESSAGE_TYPES.items()
        )
    ]
)
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]+)`)?$", re.DOTALL)
_EXPECTED_GOT = re.compile(
    r"Expected `(?P<expected>.*?)`(?P<bound> (?:of length )?[<>]=? ?\d+)?(?:, got `(?P<got>.*)`)?",
    re.DOTALL,
)
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<place>\d+)\]|(?P<unknown>.)")


class Problem(msgspec.Struct, frozen=True):
    """Why a message is refused: the place in it, what belongs there, what stood there."""

    path: str
    expected: str
    got: str
    rule: str
    code: int = 400

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got} ({self.rule})"


def check(
    text: bytes | str, *, max_bytes: int = MAX_MESSAGE_BYTES, kind: str | None = None
) -> Problem | None:
    """Return the first thing wrong with a message, or None when it is a valid one.

    `max_bytes` is measured on the wire text in UTF-8; 0 means no limit. Types that the
    specification does not name are valid when their outer fields are. `kind` is the
    message's type where `peek` has read it already.
    """
    found = read(text, max_bytes=max_bytes, kind=kind)
    return found if isinstance(found, Problem) else None


def valid(text: bytes) -> ValidMessage | None:
    """A message with which `check` would find nothing wrong, whatever its size, read in one go.

    None: something is wrong with it, or the specification does not name its type.
    """
    try:
        if not text.isascii():
            text.decode()
        message: ValidMessage = _known_decoder.decode(text)
    except UNREADABLE:
        return None
    beyond = _BEYOND_TYPES.get(type(message.payload))
    return message if beyond is None or beyond(message.payload) is None else None


def read(
    text: bytes | str, *, max_bytes: int = MAX_MESSAGE_BYTES, kind: str | None = None
) -> Message[Payload | msgspec.Raw] | Problem:
    """Decode a message, or say what is wrong with it: `check` for those who need its content."""
    if max_bytes and (size := wire_size(text)) > max_bytes:
        return Problem("$", f"at most {max_bytes} bytes", f"{size}", "message size", code=413)
    try:
        # The decoder passes over the text of unknown fields without looking at its encoding.
        if isinstance(text, bytes) and not text.isascii():
            text.decode()
        if kind is None:
            kind = _type_decoder.decode(text).type
        message: Message[Payload | msgspec.Raw] = _decoders.get(kind, _any_decoder).decode(text)
    except msgspec.ValidationError as fault:
        return _explain(str(fault), text)
    except UNREADABLE as fault:
        return _explain_unreadable(fault, text)
    beyond = _BEYOND_TYPES.get(type(message.payload))
    return message if beyond is None else beyond(message.payload) or message


def _check_content(payload: ChatSend) -> Problem | None:
    # No character counts for more than two: most messages need no counting.
    if len(payload.content) * 2 <= MAX_CONTENT_UNITS:
        return None
    units = utf16_units(payload.content)
    if units <= MAX_CONTENT_UNITS:
        return None
    limit = f"at most {MAX_CONTENT_UNITS} characters"
    return Problem("$.payload.content", limit, f"{units}", "chat_send content length")


def _check_notification(payload: Notification) -> Problem | None:
    if payload.title is not None or payload.message is not None:
        return None
    return Problem("$.payload", "title or message", "neither", "notification says something")


def _check_unknown(payload: msgspec.Raw) -> Problem | None:
    if bytes(payload) != b"null":
        return None
    return Problem("$.payload", "a value", "null", "required fields")


def _check_batch(payload: Batch) -> Problem | None:
    for place, inner in enumerate(payload.messages):
        path = f"$.payload.messages[{place}]"
        text = bytes(inner)
        try:
            is_batch = _type_decoder.decode(text).type == "batch"
        except UNREADABLE:
            is_batch = False
        if is_batch:
            return Problem(path, "a message that is no batch", "a batch", "batches do not nest")
        problem = check(text, max_bytes=0)
        if problem is not None:
            return msgspec.structs.replace(problem, path=path + problem.path[1:])
    return None


# The rules that a type cannot say, by the payload's own.
_BEYOND_TYPES: dict[type, Callable[[Any], Problem | None]] = {
    ChatSend: _check_content,
    Notification: _check_notification,
    Batch: _check_batch,
    msgspec.Raw: _check_unknown,
}


def utf16_units(text: str) -> int:
    """Count characters as JavaScript's `length` does: one above U+FFFF counts as two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _explain_unreadable(fault: Exception, text: bytes | str) -> Problem:
    match fault:
        case UnicodeError():
            return Problem("$", "UTF-8 text", "other bytes", str(fault))
        case RecursionError():
            return Problem("$", "JSON that is less deep", "very many levels", "nesting")
        case _ if holds_half_characters(text):
            return Problem("$", "whole characters", "half a surrogate pair", "Unicode text")
        case _:
            return Problem("$", "JSON", "text that is not JSON", str(fault))


def _explain(fault: str, text: bytes | str) -> Problem:
    match = _PLACE.match(fault)
    what, path = (match["what"], match["path"] or "$") if match else (fault, "$")
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        return Problem(f"{path}.{missing[1]}", "a value", "nothing", "required fields")
    parts = _EXPECTED_GOT.search(what)
    if parts is None:  # a number that no float or integer holds
        return Problem(path, "a value that can be read", "another", what)
    expected = parts["expected"] + (parts["bound"] or "")
    if parts["got"]:
        return Problem(path, expected, parts["got"], "declared type")
    return Problem(path, expected, _value_at(path, text), "declared bounds")


def _value_at(path: str, text: bytes | str) -> str:
    """Describe the value at a place without showing any text that a person wrote."""
    try:
        value = msgspec.json.decode(text)
        for step in _STEP.finditer(path[1:]):
            if step["unknown"]:
                return "a value outside that"
            value = value[step["name"] if step["name"] else int(step["place"])]
    except (*UNREADABLE, LookupError, TypeError):
        return "a value outside that"
    match value:
        case str():
            return counted(utf16_units(value), "character")
        case list():
            return counted(len(value), "item")
        case float():
            return f"{value:.15g}"
        case int() if abs(value) < 1e15:
            return str(value)
        case _:
            return "a value outside that"
