"""What clients of one session send: checked, put in order, handed to the link or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import UNSET
from msgspec.structs import replace

from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import UNREADABLE, Head, decode_head, peek
from megabot_cli.relay.checks import (
    BEYOND,
    LONG_BYTES,
    NO_MORE,
    Checks,
    LastChecks,
    Objection,
    head_of,
    name_of,
)
from megabot_cli.relay.executions import Executions
from megabot_cli.relay.flat_routing import FLAT, FlatRouting, told_id
from megabot_cli.relay.held_back import HeldBack
from megabot_cli.relay.kept_results import KeptResults
from megabot_cli.relay.link import Link
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.not_written import NotWritten
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.payloads import read_keys
from megabot_cli.relay.result_claims import ResultClaims
from megabot_cli.relay.routing import ASKS, Routing
from megabot_cli.relay.unfolding import Unfolding
from megabot_cli.relay.untold import Untold, UntoldErrors
from megabot_cli.relay.upstream_queue import Waiting
from megabot_cli.relay.utf8 import all_ascii, up_to_what_is_no_text
from megabot_cli.relay.voice import Voice
from megabot_cli.telemetry.metrics import OTHER

# Where the upstream does not say what it answers, one request of a kind is under way; one
# that is never answered holds the others back for this long. One that has waited as long goes,
# whatever is before it: its answer may then concern everybody.
HOLD_S = 60.0
HOLD_CHECK_S = 0.1


class Upward:
    """The way up. `one_at_a_time`: many askers share the link, and an upstream that names no
    request in its answers gets one request of a kind at a time."""

    def __init__(
        self,
        parts: RelayParts,
        link: Link,
        voice: Voice,
        routing: Routing,
        executions: Executions,
        kept_results: KeptResults,
        *,
        one_at_a_time: bool,
        find: Callable[[str], LocalClient | None],
        untold: UntoldErrors,
    ) -> None:
        self._parts = parts
        self._time = parts.loop.time
        self._turn = parts.turn
        self._numbers = parts.numbers
        self._witness = parts.witness
        self._link = link
        self._voice = voice
        self._routing = routing
        self._flat = routing if isinstance(routing, FlatRouting) else None
        self._unfold = Unfolding(parts)
        self._results = ResultClaims(executions, kept_results, self._unfold, voice, parts.numbers)
        self.take_over()
        self._one_at_a_time = one_at_a_time
        self._find = find
        self._untold = untold
        self._not_written = NotWritten(keeps_ids=one_at_a_time)
        self.held = HeldBack(in_order=self._flat is not None)
        self._hold_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Messages that wait for an answer to another one."""
        return len(self.held)

    @property
    def held_bytes(self) -> int:
        return self.held.bytes

    def take_over(self) -> None:
        """What the settings say now holds for the next message."""
        parts = self._parts
        checks = LastChecks if parts.stopping else Checks
        self._checks = checks(parts.settings, parts.limits, parts.numbers)
        self._checked = parts.stopping or parts.settings.validation != "off"
        self._most_bytes = min(parts.limits.max_message_bytes or LONG_BYTES, LONG_BYTES)

    def stop(self) -> None:
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None

    def take(
        self, client: LocalClient, batch: list[bytes], binary: bool, whole: bytes | None = None
    ) -> list[bytes]:
        """Send on what a client sent (`whole`: see `wire.Sink`), or refuse it by id.

        Returns the messages that go up: exactly as they came, but for `metadata.megabot`,
        which is ours to set.
        """
        if client.gone_for_good:
            return []
        numbers, witness, name, unfold = self._numbers, self._witness, client.name, self._unfold
        count, came, broken = len(batch), batch, False
        if not (binary or all_ascii(batch)):
            batch, broken = up_to_what_is_no_text(batch)
        link = session_id = None
        if witness.watching:
            link, session_id = self._link.id, self._link.life.session_id
        if witness.together is not None:
            witness.together("to_upstream", batch, link, session_id, client.id, binary)
        tell = witness.message if witness.looks else None
        types, sent_up = numbers.types_to_upstream, self._routing.sent
        checked, most_bytes = self._checked, self._most_bytes
        accept = self._checks.clear if checked and not binary else None
        one_at_a_time, is_free, flat = self._one_at_a_time, self._routing.is_free, self._flat
        # Nothing waits, and every answer will say what it answers.
        plain = self._routing.echoes and not (self.held.count or self._not_written.clients)
        way = self._link.open_way()
        first = 0 if way is None else len(way)
        may_leave = self._link.may_leave
        now = self._time()
        sent = []
        asked: list[tuple[str, str]] = []  # ids and kinds of requests
        for data in batch:
            good = accept(data) if accept is not None else None
            if good is not None:
                head: Head | None = head_of(good)
            else:
                try:
                    head = unfold.head(data) if binary else decode_head(data)
                except UNREADABLE:
                    head = peek(data)
            if tell is not None:
                tell("to_upstream", data, head, link, session_id, client.id, binary)
            if head is None:
                kind = message_id = None
                numbers.malformed_to_upstream += 1
            else:
                kind, message_id, metadata = head.type, head.id, head.metadata
                if kind is None or message_id is None:
                    numbers.malformed_to_upstream += 1
                if metadata is not None and metadata.megabot is not UNSET:
                    data, whole = unfold.without_corner(data, binary), None
                if kind == "batch":
                    clean = unfold.without_inner_corners(data, binary)
                    data, whole = clean, whole if clean is data else None
            try:
                types[kind] += 1
            except KeyError:
                types[OTHER] += 1
            if good is None and (checked or binary or len(data) > most_bytes):
                objection = (
                    self._checks.judge_binary(data, head, unfold)
                    if binary
                    else self._checks.judge(data, head, binary=False)
                )
                if objection is not None:
                    self._object(client, head, objection)
                    continue
            # An upstream of the flat dialect answers those too, so they are requests as any other.
            urgent = kind == "tool_result" and flat is None
            if urgent and not self._results.may_go(
                client, Waiting(name, message_id, data, binary, now, None, urgent)
            ):
                continue
            is_batch = kind == "batch" and flat is None
            inner = unfold.batched(name, message_id, data, binary, now) if is_batch else ()
            if inner is None:
                self._object(client, head, BEYOND)
                continue
            if inner:
                batched = Waiting(name, message_id, data, binary, now, inner=inner)
                went_up = self._send_batch(client, batched)
                sent += went_up
                if way is None or went_up != [data]:
                    whole = None
                way, plain = self._link.open_way(), False
                continue
            asks = kind if kind in ASKS else None
            if flat is not None:
                message_id, asks = flat.name(kind), FLAT
            if one_at_a_time and not urgent:
                clear = plain and (message_id is None or is_free(message_id, name))
                if not clear and self._must_wait(asks, message_id, name, now):
                    plain = False
                    waiting = Waiting(name, message_id, data, binary, now, asks, urgent)
                    if self._hold(client, waiting):
                        sent.append(data)
                    continue
            if way is not None and (may_leave is None or may_leave(now)):
                way.append((name, message_id, data, binary, now, asks, urgent, ()))
                if asks is None:
                    if urgent or one_at_a_time:
                        self._await_answer(Waiting(*way[-1]), now)
                elif message_id is not None:
                    if one_at_a_time:  # what follows may use the same id
                        sent_up(message_id, name, now, asks)
                    else:
                        asked.append((message_id, asks))
                    if asks == "tool_call":
                        self._began(name, data, binary=binary)
                sent.append(data)
            else:
                way, plain = None, False  # nothing overtakes what waits
                waiting = Waiting(name, message_id, data, binary, now, asks, urgent)
                if self._enqueue(client, waiting):
                    sent.append(data)
        if whole is not None and way is not None and len(way) - first == count:
            self._link.are_framed(count, whole)
        if not first and self._turn.quiet:
            self._turn.write_early()  # the books are kept while it travels
        for message_id, asks in asked:
            sent_up(message_id, name, now, asks)
        client.sent += count
        numbers.messages_to_upstream += count
        numbers.bytes_to_upstream += sum(map(len, came))
        if broken:
            numbers.drops["not_utf8"] += 1
            client.close(CloseCode.INVALID_TEXT, "text that is not UTF-8")
        return sent

    def _object(self, client: LocalClient, head: Head | None, objection: Objection) -> None:
        message_id = name_of(head)
        self._voice.refuse(client, message_id, objection.code, objection.error, objection.message)

    # -- what is folded --------------------------------------------------------------------

    def _send_batch(self, client: LocalClient, batched: Waiting) -> list[bytes]:
        """Send a batch on as it came, or its messages one by one; returns what goes up."""
        if self._is_taken_apart(batched):
            return [each.data for each in batched.inner if self._send_inner(client, each)]
        if self._one_at_a_time and batched.message_id is not None:
            self._routing.passed(batched.message_id, batched.client, batched.at)
        return [batched.data] if self._hand_over(client, batched) else []

    def _is_taken_apart(self, batched: Waiting) -> bool:
        """Whether the messages of a batch cannot go up together."""
        if self._parts.stopping or any(each.urgent for each in batched.inner):
            return True  # of a call's results only one may go
        if not self._one_at_a_time:
            return False
        requests = sum(each.kind is not None for each in batched.inner)
        return (requests > 1 and not self._routing.echoes) or any(
            self._must_wait(each.kind, each.message_id, each.client, each.at)
            for each in batched.inner
        )

    def _send_inner(self, client: LocalClient, waiting: Waiting) -> bool:
        if waiting.urgent:
            return self._results.may_go(client, waiting) and self._hand_over(client, waiting)
        if self._parts.stopping:
            self._refuse(client, waiting, NO_MORE.code, NO_MORE.error, NO_MORE.message)
            return False
        if self._one_at_a_time and self._must_wait(
            waiting.kind, waiting.message_id, waiting.client, waiting.at
        ):
            return self._hold(client, waiting)
        return self._hand_over(client, waiting)

    # -- one of a kind under way ---------------------------------------------------------

    def _must_wait(self, kind: str | None, message_id: str | None, client: str, now: float) -> bool:
        """Whether this would make answers ambiguous, or overtake what waits for that."""
        if self.held.count and self.held.of_client(client):
            return True
        unnamed = kind is not None and not self._routing.echoes
        earlier = unnamed and self.held.has_kind(kind)
        return earlier or self._confuses(kind, message_id, client, now)

    def _confuses(self, kind: str | None, message_id: str | None, client: str, now: float) -> bool:
        """Whether an answer to another request could be taken for the answer to this one."""
        routing, not_written = self._routing, self._not_written
        unnamed = kind if not routing.echoes else None  # what answers it will not name it
        if unnamed is not None and (not_written.has_kind(unnamed) or routing.must_hold(unnamed)):
            return True
        if message_id is None:
            return False
        if not_written.clients and not_written.clients.get(message_id, client) != client:
            return True
        return routing.taken(message_id, client, now)

    def _hold(self, client: LocalClient, waiting: Waiting) -> bool:
        why = self._link.over
        if why is None and self._too_many_while_away(waiting):
            why = "the upstream is away and no more messages may wait for it"
        if why is not None:
            self._voice.refuse(client, waiting.message_id, 503, "upstream_unavailable", why)
            return False
        limit = self._parts.limits.queue
        mine = self.held.of_client(client.name)
        if limit and mine >= limit:
            text = f"{mine} of your messages wait already; slow down"
            self._voice.refuse(client, waiting.message_id, 429, "rate_limited", text)
            return False
        self._witness.hold(self._link.id, waiting.message_id, client.id)
        self.held.add(replace(waiting, connection=client.id))
        self._watch_held()
        return True

    def _too_many_while_away(self, waiting: Waiting) -> bool:
        """While the link is down all that waits for it has one bound, wherever it waits."""
        if self._link.up:
            return False
        settings, queue = self._parts.settings, self._link.queue
        size = queue.bytes + self.held.bytes + len(waiting.data)
        return len(queue) + len(self.held) >= settings.wait_messages or size > settings.wait_bytes

    def _watch_held(self) -> None:
        if self._hold_timer is None and self.held:
            self._hold_timer = self._parts.loop.call_later(HOLD_CHECK_S, self._look_again)

    def _look_again(self) -> None:
        """A request that nobody answers must not hold the others back for ever."""
        self._hold_timer = None
        if not self._link.up:
            for waiting in self.held.expire(self._time() - self._parts.settings.wait_s):
                self._tell_undelivered(waiting, self._link.why_down)
        self._routing.expire(self._parts.loop.time(), HOLD_S)
        self.release()
        self._watch_held()

    def release(self) -> None:
        """A request was answered, or has waited long enough: what may go now goes, each client's
        in order."""
        if not self._link.up:
            return  # what leaves now would only wait elsewhere
        now = self._time()
        for waiting in self.held.let_go(lambda each: self._may_go(each, now)):
            self._witness.let_go(self._link.id, waiting.message_id, waiting.connection)
            self._hand_over(self._find(waiting.client), waiting)

    def _may_go(self, waiting: Waiting, now: float) -> bool:
        if now - waiting.at >= HOLD_S:
            return True
        return not self._confuses(waiting.kind, waiting.message_id, waiting.client, now)

    def give_up_held(self, why: str) -> None:
        """The link is of no use any more: nothing will release what waits."""
        for waiting in self.held.take_all():
            self._tell_undelivered(waiting, why)

    def _hand_over(self, client: LocalClient | None, waiting: Waiting) -> bool:
        if not self._link.write_now(waiting):
            return self._enqueue(client, waiting)
        now = self._time()
        for each in waiting.inner or (waiting,):
            self._await_answer(each, now)
        return True

    def _enqueue(self, client: LocalClient | None, waiting: Waiting) -> bool:
        self._not_written.add(waiting)
        overflow = self._link.submit(waiting)
        if overflow is None:
            return True
        self._not_written.remove(waiting)
        self._results.missed(waiting)
        self._results.give_back(waiting)
        for each in (waiting, *waiting.requests()):
            self._refuse(client, each, overflow.code, overflow.error, overflow.message)
        return False

    def _refuse(
        self, client: LocalClient | None, waiting: Waiting, code: int, error: str, message: str
    ) -> None:
        """None: it has left, and hears it if it comes back."""
        if client is not None:
            self._voice.refuse(client, waiting.message_id, code, error, message)
        else:
            untold = Untold(waiting.message_id, code, error, message)
            self._untold.keep(waiting.client, untold)

    # -- what the link says ----------------------------------------------------------------

    def written(self, waiting: Waiting) -> None:
        """The link has written a message that had to wait: its answer is awaited from now on."""
        self._not_written.remove(waiting)
        self._await_answer(waiting, self._time())

    def link_lost(self) -> None:
        self._routing.line_lost(self._parts.loop.time())

    def unwritten(self, waiting: Waiting) -> None:
        """The link fell in the turn in which it was to leave: it waits again."""
        self._results.unwritten(waiting)
        if waiting.message_id is not None:
            self._routing.take([waiting.message_id])
        self._not_written.add(waiting)

    def _await_answer(self, waiting: Waiting, now: float) -> None:
        kind, message_id = waiting.kind, waiting.message_id
        self._results.written(waiting)
        if message_id is None:
            return
        if kind is None:
            if self._one_at_a_time:
                self._routing.passed(message_id, waiting.client, now)
            return
        self._routing.sent(message_id, waiting.client, now, kind)
        if waiting.batch is not None:
            self._routing.within(message_id, waiting.batch)
        if kind == "tool_call":
            self._began(waiting.client, waiting.data, binary=waiting.binary)

    def _began(self, client: str, data: bytes, *, binary: bool) -> None:
        """What names the execution that a tool call begins concerns its client."""
        if key := read_keys(self._unfold.text(data, binary)).execution_id:
            self._routing.began(key, client)

    def expired(self, waiting: Waiting, why: str) -> None:
        """A message waited for the upstream in vain: its sender hears it by id, of a batch
        also by the ids of the requests in it."""
        self._not_written.remove(waiting)
        self._results.missed(waiting)
        for each in (waiting, *waiting.requests()):
            self._tell_undelivered(each, why)

    def _tell_undelivered(self, waiting: Waiting, why: str) -> None:
        client = self._find(waiting.client)
        self._numbers.drops["upstream_away"] += 1
        self._witness.fact(
            "drop",
            client=waiting.client,
            link=self._link.id,
            session=self._link.life.session_id,
            note=f"{why}; message {told_id(waiting.message_id) or 'without id'}",
        )
        if client is not None:
            self._results.give_back(waiting)
        self._refuse(client, waiting, 503, "upstream_unavailable", f"not delivered: {why}")
