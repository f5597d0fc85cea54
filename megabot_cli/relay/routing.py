"""Who asked for what: the requests of one link, and whom a message from upstream concerns."""

from __future__ import annotations

from typing import Final

import msgspec

from megabot_cli.protocol.envelope import Head
from megabot_cli.relay.memory import Memory
from megabot_cli.relay.payloads import completes, read_keys
from megabot_cli.telemetry.metrics import RelayNumbers
from megabot_cli.telemetry.slow_replies import SlowReply

# What a request of one kind is answered by, where the upstream does not say it by id.
_KIND_OF_REPLY = {
    "chat_stream": "chat_send",
    "chat_receive": "chat_send",
    "tool_result": "tool_call",
}
ASKS = frozenset(_KIND_OF_REPLY.values())  # types that a reply follows
ENDS = frozenset({"chat_receive", "tool_result", "connection_error"})

# Types whose payload names the work they belong to.
_KEYED = frozenset({"chat_stream", "chat_receive", "tool_call", "tool_result", "status_update"})

MOST_REMEMBERED = 1000  # of requests under way, of settled ones, of keys
MOST_ID = 1024  # characters of an id or a key: thousands of them are remembered

# How long one id of two senders is unclear, when neither has been answered.
UNCLEAR_S = 60.0

# After its last chunk an answer may come once more as a whole, and that may name nothing.
WHOLE_ANSWER_S = 0.5


class Route:
    """How it was found out whom a message concerns; a label of a metric.

    Plain strings: the hash of an enumeration's member is a call into Python, for each message.
    """

    EXACT: Final = "exact"  # metadata.reply_to names a request
    KEY: Final = "key"  # an execution, task or stream that a request began
    FIFO: Final = "fifo"  # the only request of its kind under way
    BROADCAST: Final = "broadcast"  # it concerns everybody
    LATE: Final = "late"  # its asker is known, and gone


class Request(msgspec.Struct, gc=False):
    """One request under way. Times are monotonic seconds."""

    message_id: str
    client: str
    sent_at: float
    kind: str = "chat_send"
    first_chunk_at: float | None = None
    heard_at: float = 0.0  # its newest chunk; where it was given up, the end of its line
    completed_at: float | None = None  # its stream has ended; the whole answer may follow
    settled_at: float = 0.0  # when it had its answer, or was given up
    batch: str | None = None  # that it went up in


class Passed(msgspec.Struct, gc=False):
    """Who sent a message that asks for no answer, and may get one all the same."""

    client: str | None  # None: two use this id, and it cannot be told which of them is meant
    at: float
    answered: bool = False


class Progress(msgspec.Struct, frozen=True):
    """What a message from upstream meant for the request it answers.

    `settled`: the request, with `reply_s`.
    """

    first_chunk_s: float | None = None
    reply_s: float | None = None
    settled: Request | None = None

    def note(self, numbers: RelayNumbers, session: str | None, now: float) -> None:
        """Count what the answer took."""
        numbers.note(self.first_chunk_s, self.reply_s)
        if self.settled is not None and self.reply_s is not None:
            _note_slow(numbers, self.settled, self.reply_s, session, now)


def note_slow(
    numbers: RelayNumbers, answered: list[Request], session: str | None, now: float
) -> None:
    """Keep those of the requests that are among the slowest of late; they were answered now."""
    for request in answered:
        if request.completed_at is None:  # else it was noted with its last chunk
            _note_slow(numbers, request, now - request.sent_at, session, now)


def _note_slow(
    numbers: RelayNumbers, request: Request, took_s: float, session: str | None, now: float
) -> None:
    if numbers.slow_replies.may_be_one(took_s, now):
        numbers.slow_replies.add(
            SlowReply(took_s, now, request.kind, request.message_id, request.client, session)
        )


class Routed(msgspec.Struct, frozen=True):
    """Whom a message concerns: one client by name, or everybody (None)."""

    route: str  # one of Route
    client: str | None = None
    progress: Progress | None = None


_EVERYBODY = Routed(Route.BROADCAST)


class Routing:
    """The requests of one link, oldest first; what each answer and each work belongs to.

    All memories are bounded: beyond the bound the oldest are forgotten, and what belongs
    to it concerns everybody. Answered requests are remembered for what still follows them
    (a `chat_receive` after the last chunk, a late notice). `in_order`: replies that name
    nothing count for the oldest request, which does for figures where nobody is left out.
    `forgets`: what is answered is not remembered, where nobody asks whom the rest is for.
    """

    def __init__(
        self, limit: int = MOST_REMEMBERED, *, in_order: bool = False, forgets: bool = False
    ) -> None:
        self._in_order = in_order
        self._forgets = forgets
        self.requests: dict[str, Request] = {}
        self._settled: Memory[Request] = Memory(limit)  # by message id
        self._passed: Memory[Passed] = Memory(limit)  # by message id: what is no request
        self._by_key: Memory[str] = Memory(limit)  # execution, task, stream → client
        self._limit = limit
        # Nobody waits for these any longer, but an answer may come. No client: it is one of
        # several, and nobody knows which.
        self._given_up: dict[str, Request] = {}
        self._silent: Memory[Request] = Memory(limit)  # nor is an answer reckoned with
        self.echoes: bool | None = None  # whether the upstream sets reply_to; None: not seen yet
        self.repeats_whole: bool | None = None  # whether a chat_receive follows the last chunk

    def __len__(self) -> int:
        return len(self.requests)

    def ids(self) -> list[str]:
        return list(self.requests)

    def still_open(self, since: dict[str, float]) -> dict[str, float]:
        """Those of these requests that are under way since then; not one that was answered and
        whose id was used again."""
        requests = self.requests
        return {
            each: at
            for each, at in since.items()
            if each in requests and requests[each].sent_at <= at
        }

    def must_hold(self, kind: str | None) -> bool:
        """Whether a further request of this kind would make the answers ambiguous."""
        if self.echoes or kind not in ASKS:
            return False
        return any(request.kind == kind for request in self.requests.values())

    def is_free(self, message_id: str, client: str) -> bool:
        """Whether no other client has used this id, as far as is remembered."""
        settled = self._settled
        request = (
            self.requests.get(message_id)
            or settled.young.get(message_id)
            or settled.old.get(message_id)
        )
        return request is None or request.client == client

    def taken(self, message_id: str, client: str, now: float) -> bool:
        """Whether another client uses this id, so that two answers could be confused."""
        request = self.requests.get(message_id)
        if request is not None:
            return request.client != client
        settled = self._settled.get(message_id)
        if settled is None or settled.client == client:
            return False
        return now - settled.settled_at < WHOLE_ANSWER_S

    def sent(self, message_id: str, client: str, now: float, kind: str = "chat_send") -> None:
        """A request went up."""
        requests = self.requests
        if message_id in requests:
            del requests[message_id]  # it is the youngest now
        requests[message_id] = Request(message_id, client, now, kind)
        if len(requests) > self._limit:
            self._settle(next(iter(requests.values())), now)

    def within(self, message_id: str, batch: str) -> None:
        """A request went up in this batch: who refuses that has refused it."""
        if (request := self.requests.get(message_id)) is not None:
            request.batch = batch

    def passed(self, message_id: str, client: str, now: float) -> None:
        """What is no request went up: should anything name it, that concerns its sender."""
        before = self._passed.get(message_id)
        unclear = (
            before is not None
            and before.client != client
            and not before.answered
            and now - before.at < UNCLEAR_S
        )
        self._passed.keep(message_id, Passed(None if unclear else client, now))

    def began(self, key: str, client: str) -> None:
        """Whatever names this execution, task or stream concerns that client."""
        if len(key) <= MOST_ID:
            self._by_key.keep(key, client)

    def route(self, head: Head, data: bytes, now: float) -> Routed:
        """Say whom a message from upstream concerns, and note what it answers."""
        kind, metadata = head.type, head.metadata
        if metadata is not None and metadata.reply_to is not None:
            return self._exact(metadata.reply_to, kind, data, now)
        if kind not in _KEYED and kind not in ENDS:
            return _EVERYBODY
        if len(self._by_key) and kind in _KEYED:
            for key in read_keys(data).names():
                if (client := self._by_key.get(key)) is not None:
                    request = self._only(kind)
                    mine = request is not None and request.client == client
                    progress = self._note(request, kind, data, now) if mine else None
                    if not mine:
                        self._answered_late(kind, data, client=client)
                    return Routed(Route.KEY, client, progress)
        # An upstream that names what it answers means everybody when it names nothing.
        fitting = [] if self.echoes else self._fitting(kind)
        late = None if self.echoes or not self._given_up else self._late(kind, now)
        if late is not None and len(fitting) < 2:
            return self._doubtful(fitting, late, kind, data, now)
        request = self._one_of(fitting)
        if request is None:
            return _EVERYBODY
        if kind in _KIND_OF_REPLY:
            self.echoes = False
        client = request.client
        if kind == "chat_stream" and request.first_chunk_at is None and not self._in_order:
            for key in read_keys(data).names():
                self.began(key, client)
        return Routed(Route.FIFO, client, self._note(request, kind, data, now))

    def _doubtful(
        self, fitting: list[Request], late: Request, kind: str | None, data: bytes, now: float
    ) -> Routed:
        """What may be the answer to one that was given up is that where it can be no other.

        Else one of the two still has its answer to come, and nobody knows which.
        """
        progress = self._note(fitting[0], kind, data, now) if fitting else None
        if fitting:
            late.client, late.settled_at = "", now
        elif kind in ENDS:
            del self._given_up[late.message_id]
        elif completes(data):
            late.completed_at = now
        if not late.client or kind not in _KIND_OF_REPLY:
            return Routed(Route.BROADCAST, progress=progress)
        return Routed(Route.FIFO, late.client, progress)

    def _answered_late(
        self, kind: str | None, data: bytes, *, message_id: str = "", client: str = ""
    ) -> None:
        """One that was given up has its answer after all, if this is the end of one: that of this
        id, or the oldest of the client."""
        if kind not in ENDS and not (kind == "chat_stream" and completes(data)):
            return
        for memory in (self._silent.old, self._silent.young, self._given_up):
            for each in memory.values():
                if each.message_id == message_id or (each.client == client and _fits(each, kind)):
                    del memory[each.message_id]
                    return

    def _late(self, kind: str | None, now: float) -> Request | None:
        for request in self._given_up.values():
            if _fits(request, kind) and not is_clear(request, now):
                return request
        return None

    def asker_of(self, head: Head, data: bytes) -> str | None:
        """Whose request a message from upstream names; nothing is noted."""
        if head.reply_to is None:
            return None
        request = self.requests.get(head.reply_to) or self._settled.get(head.reply_to)
        return request.client if request is not None else None

    def answered(self, answered: list[Request], now: float) -> None:
        """Whole answers named these, and they were taken out of `requests`: they are settled.

        The same as `route` does for each, without the steps that lead there.
        """
        self.echoes = True
        settled = self._settled
        remembered = settled.young
        for request in answered:
            if request.completed_at is not None:
                self.repeats_whole = True
            if not self._forgets:
                request.settled_at = now
                remembered[request.message_id] = request
        settled.age()

    def _exact(self, reply_to: str, kind: str | None, data: bytes, now: float) -> Routed:
        request = self.requests.get(reply_to)
        client = request.client if request is not None else self._sender_of(reply_to)
        if request is None:
            self._answered_late(kind, data, message_id=reply_to)
        if request is None and kind == "connection_error":
            for each in [one for one in self.requests.values() if one.batch == reply_to]:
                self._settle(each, now)
        if client is None:
            return _EVERYBODY
        if request is not None and kind in _KIND_OF_REPLY:
            self.echoes = True
        if kind in _KEYED and kind != "chat_receive":
            for key in read_keys(data).names():
                self.began(key, client)
        return Routed(Route.EXACT, client, self._note(request, kind, data, now))

    def _sender_of(self, message_id: str) -> str | None:
        """Who used this id last, for a settled request or for anything else."""
        settled, passed = self._settled.get(message_id), self._passed.get(message_id)
        if passed is None or (settled is not None and settled.settled_at > passed.at):
            return settled.client if settled is not None else None
        passed.answered = True
        return passed.client

    def _only(self, kind: str | None) -> Request | None:
        """The one request that a reply of this type can be for; None when it might be another's."""
        return self._one_of(self._fitting(kind))

    def _one_of(self, fitting: list[Request]) -> Request | None:
        return fitting[0] if len(fitting) == 1 or (fitting and self._in_order) else None

    def _fitting(self, kind: str | None) -> list[Request]:
        return [
            each
            for each in self.requests.values()
            if _fits(each, kind) and (kind != "chat_stream" or each.completed_at is None)
        ]

    def _note(
        self, request: Request | None, kind: str | None, data: bytes, now: float
    ) -> Progress | None:
        if request is None:
            return None
        is_chunk = kind == "chat_stream"
        if not is_chunk and kind not in ENDS:
            return None
        first_chunk_s = None
        if is_chunk and request.first_chunk_at is None:
            request.first_chunk_at = now
            first_chunk_s = now - request.sent_at
        if is_chunk and not completes(data):
            request.heard_at = now
            return Progress(first_chunk_s=first_chunk_s)
        if request.completed_at is not None:
            self.repeats_whole = True
            self._settle(request, now)
            return Progress()
        if is_chunk and not self._in_order and self.echoes is False and self._may_repeat():
            request.completed_at = now
        else:
            self._settle(request, now)
        return Progress(first_chunk_s, now - request.sent_at, request)

    def _may_repeat(self) -> bool:
        return self.repeats_whole is not False

    def _settle(self, request: Request, now: float) -> None:
        self.requests.pop(request.message_id, None)
        if not self._forgets:
            request.settled_at = now
            self._settled.keep(request.message_id, request)

    def expire(self, now: float, after_s: float) -> list[Request]:
        """Give up requests that have no answer after so long, and stop waiting for a whole
        answer that does not follow; what still comes for them goes to their askers."""
        expired = [each for each in self.requests.values() if _is_over(each, now, after_s)]
        for request in expired:
            if request.completed_at is not None and self.repeats_whole is None:
                self.repeats_whole = False
            self._settle(request, now)
            request.settled_at = now
        if not self._in_order:
            open_still = []
            for each in self._given_up.values():
                if is_clear(each, now):
                    self._silent.keep(each.message_id, each)
                else:
                    open_still.append(each)
            open_still += [each for each in expired if each.completed_at is None]
            self._given_up = {each.message_id: each for each in open_still}
        return expired

    def line_lost(self, now: float) -> None:
        """What was given up on it and had no answer since is as open as the rest: it is told with
        them, and not given up again before."""
        given_up = [*self._silent.old.values(), *self._silent.young.values()]
        given_up += self._given_up.values()
        unanswered = [each for each in given_up if each.client and each.completed_at is None]
        for each in unanswered:
            each.heard_at = now
        self.requests = {each.message_id: each for each in unanswered} | self.requests
        self._given_up.clear()
        self._silent = Memory(self._limit)

    def take_all(self) -> list[Request]:
        """Take out every request, oldest first, also those that were given up."""
        self.line_lost(0.0)  # none of them waits any longer
        return self.take(self.ids())

    def take(self, message_ids: list[str]) -> list[Request]:
        """Take out those of `message_ids` that are still unanswered."""
        taken = [self.requests.pop(message_id, None) for message_id in message_ids]
        return [request for request in taken if request is not None]


def _fits(request: Request, kind: str | None) -> bool:
    """Whether a message of this type may be of an answer to it."""
    asked = _KIND_OF_REPLY.get(kind or "")
    return asked == request.kind or kind == "connection_error"


def is_clear(given_up: Request, now: float) -> bool:
    """Whether no answer to a request that was given up is reckoned with any more."""
    return now - given_up.settled_at >= UNCLEAR_S


def _is_over(request: Request, now: float, after_s: float) -> bool:
    if request.completed_at is not None:
        return now - request.completed_at >= WHOLE_ANSWER_S
    return now - max(request.sent_at, request.heard_at) >= after_s
