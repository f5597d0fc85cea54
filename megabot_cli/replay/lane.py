"""One session of a replay: the clients on it, and what has come back on it so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

from megabot_cli.client.connection import MegaBotClient, Received
from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.envelope import peek
from megabot_cli.protocol.greeting import GREETING
from megabot_cli.recording.answers import Part, Reply, ids_in, payload_of
from megabot_cli.recording.rewriting import IdMap
from megabot_cli.replay.arrivals import Arrivals, Rejoining
from megabot_cli.replay.tool_calls import Call, UnaskedCalls, execution_id_of

NewClient = Callable[[str, str | None], MegaBotClient]
"""Makes the client that stands for a recorded one (its name); given a session, it joins that."""


# What is more than one step of an answer.
_NOT_SIMPLE: Final = frozenset((None, "batch", "tool_call", GREETING))


class Lane:
    """Several sockets may share a session; what each of them hears counts once.

    `outstanding` are the awaited messages, by place, whose answer has not come as it was
    recorded; where it is not known how, whose answer has not come to an end.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        ids: IdMap,
        unasked_calls: Sequence[Call] = (),
        referred: frozenset[str] = frozenset(),
    ) -> None:
        self.clients: dict[str, MegaBotClient] = {}  # those that are connected
        self.opened = 0
        self.recorded_sessions: set[str] = set()
        self._turn = asyncio.Lock()
        self._has_session = True
        self._session_id: str | None = None
        self.outstanding: set[int] = set()
        self.replies = 0
        self.unasked = 0
        self._called_unasked = 0
        self._arrivals = arrivals
        self._correlators: dict[str, Rejoining] = {}
        self._recorded = arrivals.recorded
        self._ids = ids
        self._seen: set[str] = set()
        self.calls_nothing = False  # a call was waited for in vain, and none has come since
        self._unasked_calls = UnaskedCalls(unasked_calls)
        self._referred = referred

    async def open(self, client: str, new_client: NewClient, cleanup: AsyncExitStack) -> None:
        """Connect one more, to the session of those before it."""
        async with self._turn:
            opened = await cleanup.enter_async_context(new_client(client, self._session_id))
            self._session_id = opened.session_id or self._session_id
            self._has_session = bool(opened.session_id)
            self.clients[client] = opened
            self.opened += 1
        if self._session_id is not None:
            for recorded in self.recorded_sessions:
                self._ids.learn(recorded, self._session_id)

    async def close(self, client: str) -> None:
        """Let one go. What it has still to hear it does not hear any more."""
        await self.clients[client].close()
        del self.clients[client]

    def sending(
        self,
        client: str,
        place: int,
        message_id: str | None,
        text: str | bytes,
        *,
        awaited: bool,
    ) -> None:
        """A message is about to leave: an answer may be quicker than our own next step."""
        self._correlator_of(client).sent(place, message_id, text)
        if awaited:
            self.outstanding.add(place)

    def sending_plainly(
        self, client: str, places: Sequence[int], ids: Sequence[str], awaited: Iterable[int]
    ) -> None:
        """As `sending`, of messages that name nothing but themselves; `awaited` are places."""
        self._correlator_of(client).sent_plainly(places, ids)
        self.outstanding.update(awaited)

    def heard_texts(self, client: str, texts: Sequence[bytes], at: float) -> bool:
        """As `heard`, of messages that came together, in half of the time for what is simple."""
        before = self._waited_for
        self._take_texts(client, texts, at)
        return self._waited_for != before

    def _take_texts(self, client: str, texts: Sequence[bytes], at: float) -> None:
        rest, correlator = iter(texts), self._correlator_of(client)
        if self._referred:
            for text in rest:
                self._heard_text(client, text, None, at)
        while True:
            places, other = correlator.take_as_recorded(rest, self._seen, at)
            self.outstanding.difference_update(places)
            self.replies += len(places)
            if other is None:
                return
            self._heard_text(client, *other, at)

    def _heard_text(self, client: str, text: bytes, reply: Reply | None, at: float) -> None:
        if reply is None or reply.id is None or reply.type in _NOT_SIMPLE or not reply.payload:
            for received in _each_in(text, at):
                self._take(client, received, at)
            return
        if reply.id in self._seen:
            return
        self._seen.add(reply.id)
        self.replies += 1
        part = Part(reply.type, None, reply.payload)
        taken = self._correlator_of(client).take(reply, part, at)
        if taken is None:
            self.unasked += 1
        elif self._is_answered(taken[0]):
            self._has_come(taken[0])

    def heard(self, client: str, received: Received, at: float) -> bool:
        """A message came over one of the sockets, at `at` on the monotonic clock. Whether it is
        something that may be waited for: it belongs to an answer, or calls a tool.

        The greeting tells nothing but that we are connected: it answers nobody, and is not counted.
        """
        before = self._waited_for
        self._take(client, received, at)
        return self._waited_for != before

    @property
    def _waited_for(self) -> int:
        return self.replies - self.unasked + self._called_unasked

    def _take(self, client: str, received: Received, at: float) -> None:
        head = received.head
        if (head is not None and head.type == GREETING) or not self._is_news(client, received):
            return
        self.replies += 1
        grown = self._correlator_of(client).came(received.text, at, head)
        self.unasked += not grown
        if not grown and head is not None and head.type == "tool_call":
            self.calls_nothing = False
            self._called_unasked += 1
            self._learn_unasked(received.text)
        for place, part in grown:
            if part.type == "tool_call":
                self.calls_nothing = False
                self._learn(place, part)
            if self._referred:
                self._learn_names(place, part)
            if self._is_answered(place):
                self._has_come(place)

    def _is_news(self, client: str, received: Received) -> bool:
        message_id = received.head.id if received.head is not None else None
        if message_id is None:
            return not self._has_session or client == next(iter(self.clients), client)
        if message_id in self._seen:
            return False
        self._seen.add(message_id)
        return True

    def _correlator_of(self, client: str) -> Rejoining:
        # Without a session each socket has a conversation of its own (the flat dialect).
        name = "" if self._has_session else client
        correlator = self._correlators.get(name)
        if correlator is None:
            self._correlators[name] = correlator = Rejoining(self._arrivals)
        return correlator

    def _learn(self, place: int, part: Part) -> None:
        """A tool call of the upstream has a new id, which our result will have to name."""
        now = execution_id_of(part.payload)
        if now is None:
            return
        calls = [each for each in self._arrivals[place].parts if each.type == "tool_call"]
        recorded_answer = self._recorded.get(place)
        if recorded_answer is None:
            return
        before = [each for each in recorded_answer.parts if each.type == "tool_call"]
        if len(calls) <= len(before):
            recorded = execution_id_of(before[len(calls) - 1].payload)
            if recorded is not None:
                self._ids.learn(recorded, now)

    def _learn_names(self, place: int, part: Part) -> None:
        """What the upstream calls by another name now, and we shall have to name."""
        recorded = self._recorded.get(place)
        parts = self._arrivals[place].parts
        step = next((step for step, each in enumerate(parts) if each is part), -1)
        if recorded is None or not 0 <= step < len(recorded.parts):
            return
        then = recorded.parts[step]
        if then.type != part.type:
            return
        names, named = ids_in(part.payload), ids_in(then.payload)
        pairs = [(then.named, part.id), *((named[key], names.get(key)) for key in named)]
        for before, now in pairs:
            if before in self._referred and now is not None:
                self._ids.learn(before, now)

    def _learn_unasked(self, text: str | bytes) -> None:
        payload = payload_of(text)
        now, recorded = execution_id_of(payload), self._unasked_calls.next_of(payload)
        if now is not None and recorded is not None:
            self._ids.learn(recorded, now)

    def has_called(self, call: Call) -> bool:
        """Whether that tool call has come in this replay, so that its result can name it."""
        return self._ids.has(call.execution_id)

    def _has_come(self, place: int) -> None:
        """It is answered. What is to the letter what was recorded takes no memory of its own."""
        self.outstanding.discard(place)
        if (recorded := self._recorded.get(place)) is not None:
            self._arrivals[place].share_words(recorded)

    def _is_answered(self, place: int) -> bool:
        """Whether as much has come as was recorded, or a refusal, after which nothing will."""
        answer, recorded = self._arrivals[place], self._recorded.get(place)
        if recorded is None:
            return answer.is_whole and (answer.ended or answer.parts[-1].stream is not None)
        refused = answer.parts[-1].type == "connection_error"
        return answer.is_whole and (refused or len(answer.parts) >= len(recorded.parts))


class Visit:
    """A client of a lane, from when it comes (None: from the start) until it leaves (None: when
    all is over), in the replay's own time. `places` are the messages it sends."""

    def __init__(self, lane: Lane, client: str) -> None:
        self.lane = lane
        self.client = client
        self.opens_at: float | None = None
        self.closes_at: float | None = None
        self.opened = asyncio.Event()
        self.has_spoken = asyncio.Event()
        self.places: set[int] = set()

    @property
    def is_partial(self) -> bool:
        return self.opens_at is not None or self.closes_at is not None


def _each_in(text: bytes, at: float) -> Iterator[Received]:
    """The message itself, or those in it when it is a batch that can be opened."""
    head = peek(text)
    inner = unwrap(text) if head is not None and head.type == "batch" else []
    for each in inner or [text.decode()]:
        yield Received(each, peek(each), at)
