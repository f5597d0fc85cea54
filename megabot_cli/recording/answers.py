"""Which reply belongs to which message, and what the replies to one message come to.

The same rules for what was recorded and for what comes now: first `metadata.reply_to`, then
an execution, task or stream id that names the exchange, else the oldest message that still
waits for its answer.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from sys import intern
from typing import Any, Final, cast

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.envelope import UNREADABLE, Head, peek
from megabot_cli.protocol.messages import ChatStream
from megabot_cli.protocol.streams import Stream, joined_in, stream_key
from megabot_cli.recording.aside import Aside, StreamAside, stream_aside

_ENDING: Final = frozenset(("chat_receive", "connection_error", "tool_result"))
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
_NAMED: Final = ("execution_id", "task_id", "stream_id")
_MOST_OF_ONE: Final = 1000  # messages with one id that may still be answered
_KEYS: Final = frozenset(_NAMED)
_ANY_KEY: Final = b'_id"'  # how each of them ends


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
        part = Part(_type_of(head), payload_of(text))
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
        self.ended = self.ended or part.type in _ENDING
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


class Correlator:
    """Finds the message that a reply answers, among those sent on one session.

    Messages go by their place in the replay. `answers` grows as replies are given.
    """

    def __init__(self, answers: dict[int, Answer] | None = None) -> None:
        """`answers` may be shared by several, where a place is known to one of them alone."""
        self.answers: dict[int, Answer] = {} if answers is None else answers
        self._by_id: dict[str, int] = {}
        # Ids that several messages have: those of two clients, or of one that asks again.
        self._shared: dict[str, list[int]] = {}
        self._clients: dict[int, str] = {}  # who sent it, where that was said
        # Of batches: the ids in them whose answers have not come to their end.
        self._open_in: dict[int, set[str]] = {}
        self._by_key: dict[str, int] = {}
        self._waiting: deque[int] = deque()
        # Flat messages without an answer, by the type that answers them.
        self._expected: defaultdict[str, deque[int]] = defaultdict(deque)
        # Messages that no reply can name: broken ones, say.
        self._nameless: deque[int] = deque()
        self._last: int | None = None
        self._served: int | None = None

    def sent(
        self, place: int, message_id: str | None, text: str | bytes, client: str | None = None
    ) -> None:
        """A message was sent, with this id and these words, by this client."""
        self.answers[place] = Answer()
        if client is not None:
            self._clients[place] = client
        self._waiting.append(place)
        self._last = place
        head = peek(text)
        if head is not None and head.type in flat.ANSWERS:
            self._expected[flat.ANSWERS[head.type]].append(place)
        elif head is None or head.id is None:
            self._nameless.append(place)
        if message_id is not None:
            self._remember_id(message_id, place)
        names = set()
        for within, inner in messages_in(text):
            if within is not None and within.id is not None and within.id != message_id:
                self._remember_id(within.id, place)
                names.add(within.id)
            self._begin_keys(payload_of(inner), place)
        if names:
            self._open_in[place] = names

    def sent_plainly(self, places: Sequence[int], ids: Sequence[str]) -> None:
        """As `sent` with each in turn, of messages, one at least, that have these ids, are no
        batches, and name nothing else."""
        self.answers.update((place, Answer()) for place in places)
        self._waiting.extend(places)
        self._last = places[-1]
        self._by_id.update(zip(ids, places, strict=True))

    def came(
        self,
        text: str | bytes,
        at: float,
        head: Head | None = None,
        client: str | None = None,
    ) -> list[tuple[int, Part]]:
        """A reply came. Return what it belongs to: none when to nothing, several for a batch.

        `head` are its outer fields, where somebody has read them already; `client` the one that
        it is for, where that was said.
        """
        reply = _read(text)
        if reply is not None:
            kind = reply.type and intern(reply.type)  # of so many, the same few
            taken = self.take(reply, Part(kind, raw=reply.payload), at, client)
            return [taken] if taken is not None else []
        one = head is not None and head.type != "batch"
        grown = []
        for outer, message in [(head, text)] if one else messages_in(text):
            taken = self.take(outer, Part(_type_of(outer), payload_of(message)), at, client)
            if taken is not None:
                grown.append(taken)
        return grown

    def take(
        self, head: Head | None, part: Part, at: float, client: str | None = None
    ) -> tuple[int, Part] | None:
        """As `came`, of one message that is no batch, as the part that it would be."""
        named = head.reply_to if head is not None else None
        place = self._owner(part) if named is None else self._by_id.get(named)
        if place is None:
            return None
        if named in self._shared:
            place = self._one_of(named, part, client)
        grown = self.answers[place].take(head, part, at)
        if named is not None and place in self._open_in and _is_end(part, grown):
            self._open_in[place].discard(named)
        if head is not None and grown is part:
            part.id = head.id
        if named is not None and _may_name(part):  # of a stream, the chunk does
            self._remember_keys(part.payload, place)
        return place, grown

    def _one_of(self, named: str, part: Part, client: str | None) -> int:
        """The message that is answered, of those with one id: the one whose exchange is named, or
        for a new exchange that has none yet; the one whose stream is said again as a whole; the
        first whose answer has not come to its end; else the last. Of those that `client` sent,
        where there are any."""
        places = self._shared[named]
        if client is not None:
            places = [each for each in places if self._clients.get(each) == client] or places
        keys = _keys_of(part.payload) if _may_name(part) else []
        if known := [self._by_key[key] for key in keys if self._by_key.get(key) in places]:
            return known[0]
        if keys and (unanswered := [each for each in places if not self.answers[each].parts]):
            return unanswered[0]
        if told := [each for each in places if _says_again(part, self.answers[each])]:
            return told[0]
        for place in places:
            answer = self.answers[place]
            if (open_in := self._open_in.get(place)) is not None:
                if named in open_in:
                    return place
                continue
            is_told = bool(answer.parts) and answer.parts[-1].stream is not None
            if not answer.ended and not (is_told and answer.is_whole):
                return place
        return places[-1]

    def has_ended(self, place: int) -> bool:
        """Whether the answer has come to its end; of a batch each one."""
        return self.answers[place].ended and not self._open_in.get(place)

    def place_of(self, message_id: str) -> int | None:
        """The place of the message that has this id; of several the greatest."""
        if message_id in self._shared:
            return max(self._shared[message_id])
        return self._by_id.get(message_id)

    def _owner(self, part: Part) -> int | None:
        """The message that is answered by one which names none."""
        if self._by_key and _may_name(part):
            for key in _keys_of(part.payload):
                if key in self._by_key:
                    return self._by_key[key]
        message_type = part.type
        if message_type in UNASKED:
            return None
        if self._served is not None and _says_again(part, self.answers[self._served]):
            return self._served
        if message_type == "connection_error" or is_plain_refusal(message_type, part.payload):
            # Of a message that has a name it would give that; another flat one has its own answer.
            while self._nameless:
                if not self.answers[place := self._nameless.popleft()].parts:
                    return place
        if self._expected and message_type in flat.ANSWERED_BY:
            return self._expecting(message_type)  # none: everybody is told of a decision
        return self._oldest_waiting()

    def _expecting(self, message_type: str | None) -> int | None:
        """The oldest flat message without an answer that one of this type is for."""
        expected = self._expected.get(message_type or "")
        while expected:
            if not self.answers[expected[0]].parts:
                return expected[0]
            expected.popleft()
        return None

    def _oldest_waiting(self) -> int | None:
        while self._waiting:
            answer = self.answers[self._waiting[0]]
            if not answer.parts or not (answer.ended or answer.is_whole):
                self._served = self._waiting[0]
                return self._served
            self._waiting.popleft()
        return self._last

    def _remember_id(self, message_id: str, place: int) -> None:
        before = self._by_id.get(message_id)
        if before is not None:
            places = self._shared.setdefault(message_id, [before])
            places.append(place)
            # Those are looked through for each answer: what is past goes.
            while len(places) > 2 and (len(places) > _MOST_OF_ONE or self.has_ended(places[0])):
                del places[0]
        self._by_id[message_id] = place

    def _begin_keys(self, payload: Any, place: int) -> None:
        """A message names these; one that named them before and is answered is past."""
        for key in _keys_of(payload):
            before = self._by_key.get(key)
            if before is None or self.has_ended(before):
                self._by_key[key] = place

    def _remember_keys(self, payload: Any, place: int) -> None:
        for key in _keys_of(payload):
            self._by_key.setdefault(key, place)


def _says_the_same(part: Part, other: Part) -> bool:
    """Whether two parts are whole and the same to the letter; what is not decoded yet stays so."""
    if part.type != other.type or not (part.is_whole and other.is_whole):
        return False
    if part.stream is not None and other.stream is not None:
        return part.stream.text == other.stream.text
    letters = part.letters()
    return letters is not None and letters == other.letters()


def _is_end(part: Part, grown: Part) -> bool:
    """Whether a message (`part`) is the last of an answer, as far as it can be known: a stream has
    `grown` to its end, or it is no piece of one and ends all."""
    return part.type in _ENDING or (grown.stream is not None and grown.is_whole)


def _says_again(whole: Part, answer: Answer) -> bool:
    """Whether a whole answer says again what this one has just streamed to its end."""
    last = answer.parts[-1] if answer.parts else None
    if whole.type != "chat_receive" or last is None or last.stream is None:
        return False
    payload = whole.payload
    content = payload.get("content") if isinstance(payload, dict) else None
    return last.stream.text == content


def is_plain_refusal(kind: str | None, payload: Any) -> bool:
    """Whether it is one of the flat dialect, which knows no other answer in plain text."""
    return kind is None and isinstance(payload, str) and payload[:6] == "Error "


def messages_in(text: str | bytes) -> list[tuple[Head | None, str | bytes]]:
    """The message itself, or those in it when it is a batch, each with its outer fields."""
    head = peek(text)
    if head is not None and head.type == "batch":
        return [(peek(inner), inner) for inner in unwrap(text)]
    return [(head, text)]


def _read(text: str | bytes) -> Reply | None:
    """A message with a payload; None for a batch, and for what is read in another way."""
    try:
        reply = decode_reply(text)
    except UNREADABLE:
        return None
    return reply if reply.payload and reply.type != "batch" else None


def _type_of(head: Head | None) -> str | None:
    return head.type if head is not None else None


def _decoded(raw: msgspec.Raw) -> Any:
    """A payload's value; its text where it has none."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return bytes(raw).decode(errors="replace")


def _may_name(part: Part) -> bool:
    """Whether its payload may name an exchange; read without decoding it."""
    raw = part.raw
    if raw is None:
        return True
    text = bytes(raw)
    return _ANY_KEY in text or b"\\" in text


def payload_of(text: str | bytes) -> Any:
    """The decoded payload of a message; None when there is none to decode.

    A message without one (the flat dialect) is its own payload, be it JSON or plain text.
    """
    try:
        payload = _payload_decoder.decode(text).payload
        return msgspec.json.decode(text) if payload is msgspec.UNSET else payload
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text if isinstance(text, str) else None


def _chunk(payload: Any) -> ChatStream | None:
    try:
        return msgspec.convert(payload, ChatStream)
    except msgspec.ValidationError:
        return None


def ids_in(payload: Any) -> dict[str, str]:
    """The ids that a payload names, by the name of the field."""
    if not isinstance(payload, dict):
        return {}
    return {key: payload[key] for key in _NAMED if isinstance(payload.get(key), str)}


def _keys_of(payload: Any) -> list[str]:
    if not isinstance(payload, dict) or _KEYS.isdisjoint(payload):
        return []
    return [f"{key}:{value}" for key, value in ids_in(payload).items()]
