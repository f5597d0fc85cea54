"""A conversation turn by turn: what was asked, and all that came to it, in the order of asking.

Made while records pass, so that memory does not grow with a recording: a turn is given once
it is over, or once it has been silent for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import Head
from megabot_cli.recording.answers import (
    UNASKED,
    Answer,
    ids_in,
    is_plain_refusal,
    messages_in,
    payload_of,
)
from megabot_cli.recording.flat_greetings import FlatGreetings
from megabot_cli.recording.record import Record

SILENT_US: Final = 120_000_000  # after which an unfinished turn is given as it is
AFTER_STREAM_US: Final = 1_000_000  # in which the whole text may follow its stream
MOST_OPEN: Final = 1000
_MOST_GIVEN: Final = 10_000
_REFUSED_US: Final = 10_000_000  # within which a binary message is refused, if it is
_MOST_BINARY: Final = 1000
_LONGEST_ID: Final = 256  # characters; longer ones are not remembered
_EVENTS: Final = frozenset({"mark", "gap", "drop", "fault", "close"})
_GO_ON: Final = frozenset({"chat_stream", "status_update", "tool_call", "tool_result"})


class Turn(msgspec.Struct, kw_only=True):
    """One request and what came to it, or something that nobody asked for, or an event.

    `head` and `text` are the request's own, None and empty for what has none: then `answer`
    holds what was told, or `record` is the event. What answers a request that is not here, or was
    given already, has `belongs` true; `reply_to` is then that request's id and `asked_n` the number
    of its record, as far as they are known. `answer` has the tool results that the
    client gave as well; `results` are their places in `answer.parts`. Times are seconds since
    the recording began.
    """

    record: Record
    at_s: float
    head: Head | None = None
    text: str | bytes | None = None
    answer: Answer = msgspec.field(default_factory=Answer)
    results: set[int] = set()
    belongs: bool = False
    reply_to: str | None = None
    asked_n: int | None = None
    refused: bool = False  # by the relay that recorded it
    ended: bool = False
    streamed_us: int | None = None
    last_us: int = 0

    @property
    def is_request(self) -> bool:
        return self.text is not None

    @property
    def payload(self) -> Any:
        return payload_of(self.text) if self.text is not None else None


class _Lane:
    """The turns of one connection upstream that something may still come to."""

    def __init__(self) -> None:
        self.by_id: dict[str, Turn] = {}
        # Those whose id has been used since, by another client or again; a relay lets those of
        # several clients take turns.
        self.before: dict[str, list[Turn]] = {}
        self.by_key: dict[str, Turn] = {}
        self.open: list[Turn] = []
        # Messages that no reply can name: broken ones, say.
        self.nameless: list[Turn] = []
        self.is_flat = False

    def refused(self, record: Record) -> Turn | None:
        """The turn that a refusal which names nothing is for."""
        return self.refused_nameless(record) or self.waiting(record)

    def refused_nameless(self, record: Record) -> Turn | None:
        for turn in self.nameless:
            if not turn.answer.parts and record.client in (None, turn.record.client):
                return turn
        return None

    def expecting(self, kind: str | None, client: str | None) -> Turn | None:
        """Of the flat dialect: the oldest turn that a message of this type answers, of the client
        that it is for if it has one."""
        expecting = [
            turn
            for turn in self.open
            if not turn.ended
            and turn.head is not None
            and flat.ANSWERS.get(turn.head.type or "") == kind
        ]
        theirs = (turn for turn in expecting if turn.record.client == client)
        return next(theirs, expecting[0] if expecting else None)

    def waiting(self, record: Record) -> Turn | None:
        """The oldest turn whose answer is not whole, of the client that this is for if it has
        one. What the relay says to one client answers no other."""
        waiting = [each for each in self.open if not each.ended and each.streamed_us is None]
        for turn in waiting:
            if record.client is not None and record.client == turn.record.client:
                return turn
        if record.kind == "inject" and record.client is not None:
            return None
        return waiting[0] if waiting else self.open[-1] if self.open else None

    def asked(self, name: str, turn: Turn) -> None:
        """A request has this id."""
        before = self.by_id.get(name)
        if before is not None and before.is_request and not before.ended:
            self.before.setdefault(name, []).append(before)
        self.by_id[name] = turn

    def named(self, record: Record, name: str, kind: str | None) -> Turn | None:
        """The turn that an answer names: of several clients' the first that it can be for."""
        latest = self.by_id.get(name)
        client = record.client
        for turn in self.before.get(name, ()):
            if client not in (None, turn.record.client):
                continue  # the relay has said whom it answers
            if not turn.ended and (turn.streamed_us is None or kind == "chat_receive"):
                return turn
        if latest is not None and client is not None and latest.record.client != client:
            return self._last_of(client, name)
        return latest

    def _last_of(self, client: str, name: str) -> Turn | None:
        """The last turn of a client with this id, whose answer may have come to its end."""
        known = (*self.before.get(name, ()), self.by_id[name])
        own = [each for each in known if each.record.client == client]
        return own[-1] if own else None

    def forget(self, turn: Turn) -> None:
        self.open = [each for each in self.open if each is not turn]
        self.nameless = [each for each in self.nameless if each is not turn]
        for table in (self.by_id, self.by_key):
            for name in [name for name, each in table.items() if each is turn]:
                del table[name]
        own = turn.head.id if turn.head is not None else None
        if own is not None and own in self.before:
            self.before[own] = [each for each in self.before[own] if each is not turn]
            if not self.before[own]:
                del self.before[own]


class Turns:
    """Takes records in their order, and gives the turns that are over."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._queue: deque[tuple[Turn, _Lane]] = deque()
        self._greetings = FlatGreetings()
        self._given: dict[tuple[str, str], int] = {}  # requests by lane and id: their numbers
        # Binary messages, which are given at once: what refuses one may follow.
        self._binary: deque[Record] = deque(maxlen=_MOST_BINARY)
        self._naming: dict[str, None] = {}  # lanes whose upstream names what it answers

    def take(self, record: Record) -> Iterator[Turn]:
        """Take the next record; give the turns that are complete now, in order."""
        if record.kind in ("message", "inject"):
            payload = record.payload()
            if payload is not None:
                self._message(record, payload)
        elif record.kind == "open":
            self._greetings.opened(record)
        elif record.kind in _EVENTS:
            self._add(Turn(record=record, at_s=record.t / 1e6, ended=True), _Lane())
        while self._queue and (
            len(self._queue) > MOST_OPEN or _is_over(self._queue[0][0], record.t)
        ):
            yield self._give()

    def rest(self) -> Iterator[Turn]:
        """Give the turns that nothing more can come to, for there is no more."""
        while self._queue:
            yield self._give()

    def _give(self) -> Turn:
        turn, lane = self._queue.popleft()
        lane.forget(turn)
        name = _lane_name(turn.record)
        if turn.head is not None and turn.head.id is not None and len(turn.head.id) <= _LONGEST_ID:
            self._given[name, turn.head.id] = turn.record.n
            _let_go(self._given)
        if not lane.open and self._lanes.get(name) is lane:
            del self._lanes[name]
        return turn

    def _add(self, turn: Turn, lane: _Lane) -> Turn:
        turn.last_us = turn.record.t
        self._queue.append((turn, lane))
        return turn

    def _message(self, record: Record, payload: str | bytes) -> None:
        lane = self._lanes.setdefault(_lane_name(record), _Lane())
        if record.direction == "to_client" and self._greetings.is_one(record):
            self._add(_told_at(record), lane).answer.add(None, payload, record.t / 1e6)
            return
        for head, text in messages_in(payload):
            if record.direction == "to_upstream":
                self._sent(lane, record, head, text)
            else:
                self._came(lane, record, head, text)

    def _sent(self, lane: _Lane, record: Record, head: Head | None, text: str | bytes) -> None:
        keys = _keys_of(text)
        if head is not None and head.type == "tool_result":
            owner = next((lane.by_key[key] for key in keys if key in lane.by_key), None)
            if owner is not None:
                owner.answer.add(head, text, record.t / 1e6)
                owner.results.add(len(owner.answer.parts) - 1)
                owner.last_us = record.t
                owner.ended = owner.ended or not (owner.is_request or owner.belongs)
                return
        turn = self._add(Turn(record=record, at_s=record.t / 1e6, head=head, text=text), lane)
        if isinstance(text, bytes):
            turn.ended = True  # nobody can tell what answers it
            self._binary.append(record)
            return
        lane.open.append(turn)
        if head is not None and head.id is not None:
            lane.asked(head.id, turn)
        elif head is not None and head.type in flat.ANSWERS:
            lane.is_flat = True
        else:
            lane.nameless.append(turn)
        for key in keys:
            if key not in lane.by_key or lane.by_key[key].ended:  # which is past
                lane.by_key[key] = turn

    def _came(self, lane: _Lane, record: Record, head: Head | None, text: str | bytes) -> None:
        if head is not None and head.reply_to is not None and record.kind == "message":
            self._naming[_lane_name(record)] = None
            _let_go(self._naming)
        turn = self._refusal_of_binary(lane, record, head, text) or _owner(lane, record, head, text)
        if turn is None:
            turn = self._told(lane, record, head)
        part = turn.answer.add(head, text, record.t / 1e6)
        turn.last_us = record.t
        # The relay answers no request but to refuse it; what else it says answers none.
        answers = turn.is_request or turn.belongs
        turn.refused = turn.refused or (record.kind == "inject" and answers)
        for key in _keys_of(text):
            lane.by_key.setdefault(key, turn)
        if turn.is_request or turn.belongs:
            _settle(turn, head, record.t, streamed=part.stream is not None and part.is_whole)

    def _refusal_of_binary(
        self, lane: _Lane, record: Record, head: Head | None, text: str | bytes
    ) -> Turn | None:
        """A turn for what refuses a binary message: where an upstream names what it answers, a
        refusal that names nothing is for what has no name. Another flat message has an answer of
        its own."""
        if not self._binary or not _is_nameless_refusal(head, text):
            return None
        name = _lane_name(record)
        broken = lane.refused_nameless(record)
        for sent in self._binary if lane.is_flat or name in self._naming else ():
            if broken is not None and broken.record.n < sent.n:
                return None
            is_recent = record.t - sent.t <= _REFUSED_US
            if _lane_name(sent) == name and is_recent and record.client in (None, sent.client):
                self._binary.remove(sent)
                turn = self._add(_told_at(record), lane)
                turn.belongs, turn.asked_n = True, sent.n
                return turn
        return None

    def _told(self, lane: _Lane, record: Record, head: Head | None) -> Turn:
        """A turn for what answers no request that is open here."""
        turn = self._add(_told_at(record), lane)
        if head is None:
            return turn
        if head.type == "tool_call":
            turn.ended = False  # its result is still to come
        if head.reply_to is not None:
            turn.belongs, turn.ended = True, False
            turn.reply_to = head.reply_to
            turn.asked_n = self._given.get((_lane_name(record), head.reply_to))
            lane.by_id.setdefault(head.reply_to, turn)
        elif head.type == "chat_stream":  # which somebody must have asked for
            turn.belongs, turn.ended = True, False
            lane.open.append(turn)
        return turn


def _told_at(record: Record) -> Turn:
    """A turn of what nobody asked for."""
    return Turn(record=record, at_s=record.t / 1e6, ended=True)


def _lane_name(record: Record) -> str:
    return record.link or record.session or record.client or ""


def _owner(lane: _Lane, record: Record, head: Head | None, text: str | bytes) -> Turn | None:
    if head is not None and head.reply_to is not None:
        return lane.named(record, head.reply_to, head.type)
    for key in _keys_of(text):
        if key in lane.by_key:
            return lane.by_key[key]
    kind = head.type if head is not None else None
    if isinstance(text, bytes) or kind in UNASKED:
        return None
    if _is_nameless_refusal(head, text):
        return lane.refused(record)
    if record.kind == "inject":
        return None  # the relay's own greeting, say
    if lane.is_flat and kind in flat.ANSWERED_BY:
        return lane.expecting(kind, record.client)
    return lane.waiting(record)


def _is_nameless_refusal(head: Head | None, text: str | bytes) -> bool:
    if isinstance(text, bytes) or (head is not None and head.reply_to is not None):
        return False
    kind = head.type if head is not None else None
    return kind == "connection_error" or is_plain_refusal(kind, text)


def _let_go(known: dict[Any, Any]) -> None:
    """Forget the oldest of too many."""
    if len(known) > _MOST_GIVEN:
        del known[next(iter(known))]


def _settle(turn: Turn, head: Head | None, t: int, *, streamed: bool) -> None:
    """Note whether what came has ended the turn."""
    kind = head.type if head is not None else None
    if streamed:
        turn.streamed_us = t
    asked = turn.head.type if turn.head is not None else None
    goes_on = kind in _GO_ON and not (kind == "tool_result" and asked == "tool_call")
    turn.ended = turn.ended or not goes_on


def _is_over(turn: Turn, now_us: int) -> bool:
    if turn.ended:
        return True
    if turn.streamed_us is not None and now_us - turn.streamed_us > AFTER_STREAM_US:
        return True
    return now_us - turn.last_us > SILENT_US


def _keys_of(text: str | bytes) -> list[str]:
    return [f"{key}:{value}" for key, value in ids_in(payload_of(text)).items()]
