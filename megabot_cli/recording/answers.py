"""What the replies to one message come to: parts, of streams however they were cut."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.envelope import UNREADABLE, Head, peek
from megabot_cli.protocol.messages import ChatStream
from megabot_cli.protocol.streams import Stream, joined_in, stream_key
from megabot_cli.recording.aside import Aside, StreamAside, stream_aside

ENDING: Final = frozenset(("chat_receive", "connection_error", "tool_result"))
"""The types that end an answer."""
# What nobody asked for when it names nobody: it is told, and compared with nothing.
UNASKED: Final = frozenset(
    (
        "connection_established",
        "notification",
        "status_update",
        "collaborative_action",
        "tool_call",
        "approval_required",  # of the flat dialect, told to everybody
    )
)
NAMED: Final = ("execution_id", "task_id", "stream_id")


class _Payload(msgspec.Struct):
    payload: Any = msgspec.UNSET


class Reply(Head, gc=False):
    """The outer fields of a message, and its payload as the text that it is; empty without one."""

    payload: msgspec.Raw = msgspec.Raw()


_payload_decoder = msgspec.json.Decoder(_Payload)
decode_reply: Final = msgspec.json.Decoder(Reply).decode
"""Read a message; raises `envelope.UNREADABLE` for what `peek` reads in another way, or not."""


_aside_decoder = msgspec.json.Decoder(tuple[str | None, msgspec.Raw])


class Part(msgspec.Struct, eq=False, gc=False):
    """One step of an answer: a whole message, or a stream however it was cut into chunks.

    Given as `raw`, the payload is decoded when somebody asks for it. Put aside, it is read each
    time.
    """

    type: str | None
    _payload: Any = None
    raw: msgspec.Raw | None = None
    stream: Stream | StreamAside | None = None
    id: str | None = None  # of a whole message; `named` knows it in any case
    _aside: Aside | None = None  # who has id and payload by the number that stands for that

    @property
    def payload(self) -> Any:
        if self._aside is not None:
            return _decoded(self._got(self._aside)[1])
        if self.raw is not None:
            self._payload, self.raw = _decoded(self.raw), None
        return self._payload

    @property
    def is_whole(self) -> bool:
        return self.stream is None or self.stream.finished

    @property
    def named(self) -> str | None:
        return self._got(self._aside)[0] if self._aside is not None else self.id

    def letters(self) -> bytes | None:
        """The payload as it was written; None of one that is not known so any more."""
        if self._aside is not None:
            return bytes(self._got(self._aside)[1])
        return bytes(self.raw) if self.raw is not None else None

    def put_aside(self, aside: Aside) -> None:
        """Keep there what it says, if it is whole and that is possible."""
        if self.stream is not None:
            if isinstance(self.stream, Stream):
                self.stream = stream_aside(self.stream, aside)
            return
        try:
            text = msgspec.json.encode((self.id, self._payload if self.raw is None else self.raw))
        except (UnicodeError, RecursionError, OverflowError):
            return
        number = aside.put(text)
        if number is not None:
            self._payload, self._aside = number, aside
            self.raw = self.id = None

    def _got(self, aside: Aside) -> tuple[str | None, msgspec.Raw]:
        return _aside_decoder.decode(aside.get(self._payload))

    def forget_words(self) -> None:
        self._payload = self.raw = self._aside = None
        if self.is_whole:
            self.stream = None


class Answer(msgspec.Struct, eq=False, gc=False):
    """All that came back to one message. Times are seconds on the caller's clock."""

    parts: list[Part] = cast("list[Part]", ())  # most have one, and no list of their own till then
    messages: int = 0
    first_at: float | None = None
    last_at: float | None = None
    ended: bool = False
    _streams: dict[str, Part] | None = None  # those that have not ended; most answers are none

    @property
    def is_whole(self) -> bool:
        return not self._streams

    def add(self, head: Head | None, text: str | bytes, at: float) -> Part:
        """Take one message; return the part that it is or has grown."""
        part = Part(type_of(head), payload_of(text))
        return self.take(head, part, at, joined_in(text) if part.type == "chat_stream" else 1)

    def take(self, head: Head | None, part: Part, at: float, joined: int = 1) -> Part:
        """As `add`, of a message that is a part by itself, if it is no piece of a stream, or so
        many that a relay has `joined`."""
        self.messages += 1
        if self.first_at is None:
            self.first_at = at
        self.last_at = at
        if head is not None and part.type == "chat_stream":
            chunk = _chunk(part.payload)
            if chunk is not None:
                return self._grow(head, chunk, joined)
        self._append(part)
        self.ended = self.ended or part.type in ENDING
        return part

    def share_words(self, other: Answer) -> None:
        """Hold the parts of `other` instead of its own, where they say the same to the letter:
        they take memory once then. None of them grows any more."""
        same = len(self.parts) == len(other.parts)
        if same and all(map(_says_the_same, self.parts, other.parts)):
            self.parts = other.parts[:]

    def _append(self, part: Part) -> None:
        if self.parts:
            self.parts.append(part)
        else:
            self.parts = [part]  # a list that has room for one alone

    def forget_words(self) -> None:
        """Keep only how far the answer is, for who needs to know no more."""
        for part in self.parts:
            part.forget_words()

    def _grow(self, head: Head, chunk: ChatStream, joined: int) -> Part:
        key = stream_key(head, chunk)
        streams = self._streams = {} if self._streams is None else self._streams
        part = streams.get(key)
        if part is None:
            part = streams[key] = Part("chat_stream")
            part.stream = Stream()
            self._append(part)
        assert isinstance(part.stream, Stream)
        if part.stream.add(chunk, joined).finished:
            del streams[key]
            self._streams = streams or None
        return part


def _says_the_same(part: Part, other: Part) -> bool:
    """Whether two parts are whole and the same to the letter; what is not decoded yet stays so."""
    if part.type != other.type or not (part.is_whole and other.is_whole):
        return False
    if part.stream is not None and other.stream is not None:
        return part.stream.text == other.stream.text
    letters = part.letters()
    return letters is not None and letters == other.letters()


def is_plain_refusal(kind: str | None, payload: Any) -> bool:
    """Whether it is one of the flat dialect, which knows no other answer in plain text."""
    return kind is None and isinstance(payload, str) and payload[:6] == "Error "


def messages_in(text: str | bytes) -> list[tuple[Head | None, str | bytes]]:
    """The message itself, or those in it when it is a batch, each with its outer fields."""
    head = peek(text)
    if head is not None and head.type == "batch":
        return [(peek(inner), inner) for inner in unwrap(text)]
    return [(head, text)]


def type_of(head: Head | None) -> str | None:
    return head.type if head is not None else None


def _decoded(raw: msgspec.Raw) -> Any:
    """A payload's value; its text where it has none."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return bytes(raw).decode(errors="replace")


def payload_of(text: str | bytes) -> Any:
    """The decoded payload of a message.

    A message without one (the flat dialect) is its own payload, be it JSON, plain text or bytes.
    """
    try:
        payload = _payload_decoder.decode(text).payload
        return msgspec.json.decode(text) if payload is msgspec.UNSET else payload
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _chunk(payload: Any) -> ChatStream | None:
    try:
        return msgspec.convert(payload, ChatStream)
    except msgspec.ValidationError:
        return None


def ids_in(payload: Any) -> dict[str, str]:
    """The ids that a payload names, by the name of the field."""
    if not isinstance(payload, dict):
        return {}
    return {key: payload[key] for key in NAMED if isinstance(payload.get(key), str)}
