"""Which reply belongs to which message.

The same rules for what was recorded and for what comes now: first `metadata.reply_to`, then
an execution, task or stream id that names the exchange, else the oldest message that still
waits for its answer.
"""

from __future__ import annotations

from collections import defaultdict, deque
from sys import intern
from typing import Any, Final

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import UNREADABLE, Head, peek
from megabot_cli.recording.answers import (
    ENDING,
    NAMED,
    UNASKED,
    Answer,
    Part,
    Reply,
    decode_reply,
    ids_in,
    is_plain_refusal,
    messages_in,
    payload_of,
    type_of,
)

_MOST_OF_ONE: Final = 1000  # messages with one id that may still be answered
_KEYS: Final = frozenset(NAMED)
_ANY_KEY: Final = b'_id"'  # how each of them ends


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
            taken = self.take(outer, Part(type_of(outer), payload_of(message)), at, client)
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
        # What has a type is no refusal in plain text: its payload need not be decoded to see that.
        if message_type == "connection_error" or (
            message_type is None and is_plain_refusal(None, part.payload)
        ):
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


def _is_end(part: Part, grown: Part) -> bool:
    """Whether a message (`part`) is the last of an answer, as far as it can be known: a stream has
    `grown` to its end, or it is no piece of one and ends all."""
    return part.type in ENDING or (grown.stream is not None and grown.is_whole)


def _says_again(whole: Part, answer: Answer) -> bool:
    """Whether a whole answer says again what this one has just streamed to its end."""
    last = answer.parts[-1] if answer.parts else None
    if whole.type != "chat_receive" or last is None or last.stream is None:
        return False
    payload = whole.payload
    content = payload.get("content") if isinstance(payload, dict) else None
    return last.stream.text == content


def _read(text: str | bytes) -> Reply | None:
    """A message with a payload; None for a batch, and for what is read in another way."""
    try:
        reply = decode_reply(text)
    except UNREADABLE:
        return None
    return reply if reply.payload and reply.type != "batch" else None


def _may_name(part: Part) -> bool:
    """Whether its payload may name an exchange; read without decoding it."""
    return part.raw is None or may_name(part.raw)


def may_name(payload: msgspec.Raw) -> bool:
    """The same of a payload as it travels."""
    text = bytes(payload)
    return _ANY_KEY in text or b"\\" in text


def _keys_of(payload: Any) -> list[str]:
    if not isinstance(payload, dict) or _KEYS.isdisjoint(payload):
        return []
    return [f"{key}:{value}" for key, value in ids_in(payload).items()]
