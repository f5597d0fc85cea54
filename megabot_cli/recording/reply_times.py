"""How long answers took, from the records alone: payloads are hardly ever decoded."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import ENDING, UNASKED, is_plain_refusal, messages_in
from megabot_cli.recording.flat_greetings import FlatGreetings
from megabot_cli.recording.record import Record

MOST_OPEN: Final = 10_000
_MOST_BEFORE: Final = 100  # of one id
WHOLE_ANSWER_US: Final = 500_000  # so long after its last chunk an answer may come as a whole
# What a client says that nobody answers.
_SILENT: Final = frozenset({"tool_result", "ping", "pong", "session_leave"})


class Request(msgspec.Struct, gc=False):
    """One message that a client sent, and when answers to it came; microseconds."""

    n: int
    type: str
    at_us: int
    first_us: int | None = None
    last_us: int | None = None
    failed: bool = False
    ended: bool = False
    streaming: bool = False  # its newest chunk is not the last
    streamed: bool = False  # its newest message is the last chunk
    client: str | None = None


class _StreamPayload(msgspec.Struct):
    is_complete: bool = False


class _StreamMessage(msgspec.Struct):
    payload: _StreamPayload


_stream_decoder = msgspec.json.Decoder(_StreamMessage)


class ReplyTimes:
    """Takes records in their order. `first_us` and `whole_us` have a value for each request
    that was answered: microseconds to the first message of its answer and to the last; where the
    time of a recording goes back between them nobody knows, and it is `untimed`. An answer whose
    last chunk never came is `broken_off`; these and the `unanswered` go by type."""

    def __init__(self, most_slow: int = 5) -> None:
        self.first_us = array("q")
        self.whole_us = array("q")
        self.requests = 0
        self.failed = 0
        self.untimed = 0
        self.unanswered: dict[str, int] = {}
        self.broken_off: dict[str, int] = {}
        self.slowest: list[Request] = []
        self._most_slow = most_slow
        self._open: dict[tuple[str, str], Request] = {}
        # Those under way whose id has been used since, by another client or again; a relay lets
        # those of several clients take turns.
        self._before: dict[tuple[str, str], deque[Request]] = {}
        self._lanes: dict[str, deque[Request]] = {}
        self._lane_names: dict[str, str] = {}  # by session, and by link
        self._greetings = FlatGreetings()
        self._nameless: Counter[str] = Counter()  # messages that no reply can name, by lane

    def take(self, record: Record) -> None:
        if record.kind == "open":
            self._greetings.opened(record)
        if record.kind not in ("message", "inject"):
            return
        if record.direction == "to_client" and self._greetings.is_one(record):
            return
        if record.type == "batch":  # without its words nobody knows what was asked in it
            for each in _apart(record, record.data) if record.data is not None else ():
                self._take(each)
        else:
            self._take(record)

    def _take(self, record: Record) -> None:
        if record.direction == "to_upstream":
            self._asked(record)
        elif record.direction == "to_client" and record.type not in UNASKED:
            self._came(record)

    def finish(self) -> None:
        """No more records come."""
        for request in (*itertools.chain(*self._before.values()), *self._open.values()):
            self._settle(request)
        self._open.clear()
        self._before.clear()
        self._lanes.clear()

    def _lane_of(self, record: Record) -> str:
        """The conversation that a record is of. What is said on a link before the upstream has
        greeted knows no session, and one session may go on over another link."""
        session, link, names = record.session, record.link, self._lane_names
        name = names.get(session or "") or names.get(link or "")
        if name is None:
            name = session or link or record.client or ""
        for each in (session, link):
            if each and each not in names:
                names[each] = name
                if len(names) > MOST_OPEN:
                    del names[next(iter(names))]
        return name

    def _asked(self, record: Record) -> None:
        kind = record.type
        if record.id is None and kind not in flat.ANSWERS and record.kind != "inject":
            self._nameless[self._lane_of(record)] += 1
        if kind is None or kind in _SILENT or record.kind == "inject":
            return
        if record.id is None and kind not in flat.ANSWERS:
            return
        self.requests += 1
        request = Request(record.n, kind, record.t, client=record.client)
        lane = self._lane_of(record)
        key = (lane, record.id or f"n={record.n}")
        before = self._open.pop(key, None)
        if before is not None and not before.ended:
            waiting = self._before.setdefault(key, deque())
            waiting.append(before)
            if len(waiting) > _MOST_BEFORE:
                self._settle(waiting.popleft())
        elif before is not None:  # an id that is used again
            self._settle(before)
        self._open[key] = request
        self._lanes.setdefault(lane, deque(maxlen=1000)).append(request)
        if len(self._open) > MOST_OPEN:
            oldest = next(iter(self._open))
            for each in (*self._before.pop(oldest, ()), self._open.pop(oldest)):
                self._settle(each)

    def _came(self, record: Record) -> None:
        if record.opcode == "binary":
            return  # nobody can tell what it answers
        lane = self._lane_of(record)
        refuses = record.type == "connection_error" or is_plain_refusal(record.type, record.data)
        if record.reply_to is not None:
            request = self._named((lane, record.reply_to), record)
        elif refuses and self._nameless[lane]:
            self._nameless[lane] -= 1  # of a message that has a name it would give that
            return
        elif record.kind == "inject" and not refuses:
            return  # the relay's own greeting, say
        elif record.id is None and record.type in flat.ANSWERED_BY:
            request = self._expecting(lane, record.type, record.client)
        else:
            request = self._oldest(lane, record.client)
        if request is None:
            return
        if request.first_us is None:
            request.first_us = record.t
        request.last_us = record.t
        if record.type == "chat_stream":
            request.streaming = not is_last_chunk(record)
            request.ended = request.streamed = not request.streaming
        elif record.type == "chat_receive":
            request.streaming = request.streamed = False
        if record.type in ENDING or record.id is None:
            request.ended = True
        if refuses:
            request.failed = True

    def _named(self, key: tuple[str, str], record: Record) -> Request | None:
        """The request that an answer names: of several clients' the first that is under way."""
        before = self._before.get(key)
        while before and before[0].ended and not _says_again(before[0], record):
            self._settle(before.popleft())
        if not before:
            self._before.pop(key, None)
            return self._open.get(key)
        if record.client is None:
            return before[0]
        # A relay has said it, and to whom.
        theirs = (each for each in before if each.client == record.client)
        return next(theirs, self._open.get(key))

    def _waiting(self, lane: str) -> deque[Request]:
        waiting = self._lanes.get(lane, deque())
        while waiting and waiting[0].ended:
            waiting.popleft()
        return waiting

    def _oldest(self, lane: str, client: str | None) -> Request | None:
        """The request that an answer which names none is for: of the client that a relay has
        found it to be for, else of whoever asked first."""
        waiting = self._waiting(lane)
        if not waiting:
            return None
        theirs = (each for each in waiting if each.client == client and not each.ended)
        return waiting[0] if client is None else next(theirs, waiting[0])

    def _expecting(self, lane: str, kind: str, client: str | None) -> Request | None:
        """Of the flat dialect: the oldest request that a message of this type answers, of the
        client that it is for if it has one."""
        first = None
        for request in self._waiting(lane):
            if request.ended or flat.ANSWERS.get(request.type) != kind:
                continue
            if client is None or request.client == client:
                return request
            first = first or request
        return first

    def _settle(self, request: Request) -> None:
        if request.first_us is None or request.last_us is None:
            self.unanswered[request.type] = self.unanswered.get(request.type, 0) + 1
            return
        if request.streaming:
            self.broken_off[request.type] = self.broken_off.get(request.type, 0) + 1
            return
        self.failed += request.failed
        if not request.at_us <= request.first_us <= request.last_us:
            self.untimed += 1
            return
        self.first_us.append(request.first_us - request.at_us)
        self.whole_us.append(request.last_us - request.at_us)
        slowest = self.slowest
        if len(slowest) < self._most_slow or _took(request) > _took(slowest[-1]):
            slowest.append(request)
            slowest.sort(key=_took, reverse=True)
            del slowest[self._most_slow :]


def _apart(batch: Record, text: str) -> Iterator[Record]:
    """The messages in a batch, as if each had come by itself; a batch of none as it is."""
    for head, inner in messages_in(text) or ((peek(text), text),):
        if isinstance(inner, str):
            named = (None, None, None) if head is None else (head.id, head.type, head.reply_to)
            message_id, kind, reply_to = named
            yield replace(
                batch, id=message_id, type=kind, reply_to=reply_to, data=inner, opcode=None
            )


def _says_again(request: Request, record: Record) -> bool:
    """Whether this may be the whole of what was just streamed to its end."""
    is_soon = record.t - (request.last_us or record.t) < WHOLE_ANSWER_US
    return request.streamed and record.type == "chat_receive" and is_soon


def _took(request: Request) -> int:
    return (request.last_us or request.at_us) - request.at_us


def is_last_chunk(record: Record) -> bool:
    """Whether a chunk ends its stream. Where what it said was left out, nobody knows that it does
    not. Most chunks are told by their text alone."""
    data = record.data
    if data is None:
        return True
    if "true" not in data:
        return False
    try:
        return _stream_decoder.decode(data).payload.is_complete
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
