"""What comes from upstream: whom it concerns, its number, one frame for all who get it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from megabot_cli.protocol.envelope import UNREADABLE, Head, decode_head, peek
from megabot_cli.protocol.frames import BINARY, TEXT, server_frame
from megabot_cli.protocol.greeting import GREETING
from megabot_cli.relay.corner import with_corner, without_corner
from megabot_cli.relay.dialling import ARRIVING_FACTOR
from megabot_cli.relay.engine import SessionRing
from megabot_cli.relay.executions import Executions
from megabot_cli.relay.flat_routing import FlatRouting
from megabot_cli.relay.link import Link
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.payloads import read_keys, refusal_code
from megabot_cli.relay.repeats import Repeats
from megabot_cli.relay.ring import Kept, Numbered
from megabot_cli.relay.roster import Roster
from megabot_cli.relay.routing import (
    ENDS,
    Request,
    Route,
    Routing,
    note_slow,
)
from megabot_cli.relay.tool_results import ToolResults
from megabot_cli.relay.unfolding import Overgrown, Unfolding, messages_within, too_big
from megabot_cli.relay.upward import Upward
from megabot_cli.relay.utf8 import all_ascii, is_utf8
from megabot_cli.storage.askers import ASKER
from megabot_cli.telemetry.metrics import OTHER

_FOR_US = frozenset(
    {"tool_call", "connection_error", "batch", GREETING}
)  # types that are more than passed on
_NO_HEAD = Head()
_MAY_RELEASE = ENDS | {"chat_stream"}  # types that may be the end of an answer


class Downward:
    """The way down. `to_askers_only`: an answer goes to the one that asked, and to nobody else."""

    def __init__(
        self,
        parts: RelayParts,
        link: Link,
        roster: Roster,
        ring: SessionRing,
        routing: Routing,
        executions: Executions,
        results: ToolResults,
        upward: Upward,
        *,
        to_askers_only: bool,
        greeted_anew: Callable[[bytes], bool],
    ) -> None:
        self._unfold = Unfolding(parts, ARRIVING_FACTOR)
        self._time = parts.loop.time
        self._turn = parts.turn
        self._numbers = parts.numbers
        self._witness = parts.witness
        self._link = link
        self._roster = roster
        self._ring = ring
        self._routing = routing
        self._flat = isinstance(routing, FlatRouting)  # then what names nothing may be an answer
        self._executions = executions
        self._results = results
        self._upward = upward
        self._to_askers_only = to_askers_only
        self._greeted_anew = greeted_anew  # True: clients have been told
        self.heard_at = 0.0  # of the event loop's clock: when the upstream last said something
        self._repeats: Repeats | None = None  # while the upstream may say things again

    def link_resumed(self) -> None:
        """The session goes on: what the upstream now says again has been heard."""
        self._repeats = Repeats(self._ring.texts(), self._time())

    def take(self, batch: list[bytes], binary: bool, whole: bytes | None = None) -> None:
        """Hand what came from upstream to whom it concerns, exactly as it came (`whole`: see
        `wire.Sink`)."""
        numbers, routing, ring = self._numbers, self._routing, self._ring
        witness, upward, unfold = self._witness, self._upward, self._unfold
        came = batch
        if not (binary or all_ascii(batch)):
            batch = [data for data in batch if is_utf8(data) or self._is_dropped(data)]
            whole = None
        link = session_id = None
        if witness.watching:
            link, session_id = self._link.id, self._link.life.session_id
        to_askers_only, flat = self._to_askers_only, self._flat
        tell = witness.message if witness.looks else None
        if witness.together is not None:
            if flat and to_askers_only:  # only now it is known whose an answer is
                tell = witness.message
            else:
                asker = ASKER if to_askers_only else None
                witness.together("to_client", batch, link, session_id, asker, binary)
        types, by_name = numbers.types_to_client, self._roster.by_name
        first_byte = BINARY if binary else TEXT
        now = self.heard_at = self._time()
        requests = routing.requests
        answered: list[Request] = []
        kept: list[Numbered] = []
        seq = ring.top
        ways: dict[str, tuple[list[bytes], list[int]]] = {}  # to those who have had some of these
        after = offered = 0
        try:
            for data in batch:
                at = after  # where in `whole` this one's frame is (RFC 6455, 5.2)
                after += len(data) + (2 if len(data) < 126 else 4)
                try:
                    head = unfold.head(data) if binary else decode_head(data)
                except UNREADABLE:
                    head = peek(data)
                if tell is not None:
                    name = self._asker_of(head, data) if to_askers_only else None
                    if to_askers_only and name is None and not flat:
                        name = ASKER  # it has left: the recorder knows who it was
                    tell("to_client", data, head, link, session_id, name, binary)
                if (
                    self._repeats is not None
                    and head is not None
                    and self._is_repeat(head, data, now)
                ):
                    continue
                to: str | None = None
                kind = None if head is None else head.type
                try:
                    types[kind] += 1
                except KeyError:
                    types[OTHER] += 1
                if head is None or head.id is None or kind is None:
                    numbers.malformed_to_client += 1
                    if binary and isinstance(head, Overgrown):
                        raise too_big()
                    metadata = None if head is None else head.metadata
                    if metadata is not None and metadata.megabot is not UNSET:
                        data, whole = unfold.without_corner(data, binary), None
                    if flat:
                        ways.clear()
                        self._keep(kept)
                        to = self._concerns(head or _NO_HEAD, data, now)
                else:
                    metadata, request = head.metadata, None
                    if kind == "batch":
                        clean = unfold.without_inner_corners(data, binary)
                        data, whole = clean, whole if clean is data else None
                    if metadata is not None:
                        if metadata.megabot is not UNSET:
                            data, whole = unfold.without_corner(data, binary), None
                        if kind == "chat_receive" and metadata.reply_to is not None:
                            request = requests.pop(metadata.reply_to, None)
                    if request is not None:  # what nearly every answer is, in fewer steps
                        answered.append(request)
                        if to_askers_only:
                            to = request.client
                        if upward.held.count:
                            self._settle(answered, now)
                            upward.release()
                    elif to_askers_only or requests or kind in _FOR_US:
                        # What is asked here may concern what came just before.
                        ways.clear()
                        self._settle(answered, now)
                        self._keep(kept)
                        if kind == "tool_call":
                            self._deliver_call(head, self._unfold.text(data, binary))
                            seq = ring.top
                            continue
                        if kind == "batch" and self._deliver_apart(
                            self._unfold.text(data, binary), now
                        ):
                            seq = ring.top
                            continue
                        if kind == "connection_error":
                            said = self._unfold.text(data, binary)
                            if self._is_for_the_link(head, said) or self._refuse(head, said, now):
                                seq = ring.top
                                continue
                        if kind == GREETING and self._greeted_anew(self._unfold.text(data, binary)):
                            continue
                        if to_askers_only or requests:
                            to = self._concerns(head, self._unfold.text(data, binary), now)
                seq += 1
                kept.append((seq, now, data, binary, to))
                frame = server_frame(data, first_byte) if whole is None else whole[at:after]
                if to is None:
                    self._deliver_to_all(data, seq, first_byte, frame)
                    ways.clear()
                    continue
                way = ways.get(to)
                if way is None:
                    client = by_name.get(to)
                    if client is None:
                        continue
                    if client.wishes.corner:
                        data = with_corner(data, {"cursor": ring.cursor(seq)})
                        frame = server_frame(data, first_byte)
                    else:
                        way = client.outbox.open_way()
                    if way is None:
                        offered += 1
                        client.outbox.offer(frame, seq)
                        continue
                    ways[to] = way
                offered += 1
                way[0].append(frame)
                way[1].append(seq)
            if self._turn.quiet:
                self._turn.write_early()  # the books are kept while it travels
        finally:
            numbers.messages_to_client += len(came)
            numbers.bytes_to_client += sum(map(len, came))
            self._keep(kept)
            self._settle(answered, now)
            numbers.deliveries += offered

    def _asker_of(self, head: Head | None, data: bytes) -> str | None:
        """The connection that a message answers, for who watches."""
        name = self._routing.asker_of(head or _NO_HEAD, data)
        client = self._roster.by_name.get(name) if name is not None else None
        return client.id if client is not None else None

    def _keep(self, kept: list[Numbered]) -> None:
        if kept:
            self._ring.extend(kept)
            kept.clear()

    def _is_dropped(self, data: bytes) -> bool:
        """Passed on, it would make every client hang up (RFC 6455, 8.1): False, it is not text."""
        self._numbers.malformed_to_client += 1
        self._drop("not_utf8", f"{len(data)} bytes of text that is not UTF-8")
        return False

    def _settle(self, answered: list[Request], now: float) -> None:
        """Requests that answers have named are done with; count them, and forget the list."""
        if not answered:
            return
        self._routing.answered(answered, now)
        numbers, by_name = self._numbers, self._roster.by_name
        took_s, late = [], 0
        for request in answered:
            if request.completed_at is None:
                took_s.append(now - request.sent_at)
            if request.client not in by_name:
                late += 1
        numbers.reply_s.observe_all(took_s)
        if took_s and numbers.slow_replies.may_be_one(max(took_s), now):
            note_slow(numbers, answered, self._link.life.session_id, now)
        numbers.routes[Route.EXACT] += len(answered) - late
        if late:
            numbers.routes[Route.LATE] += late
        answered.clear()

    def _drop(self, reason: str, note: str) -> None:
        self._numbers.drops[reason] += 1
        link = self._link
        self._witness.fact("drop", link=link.id, session=link.life.session_id, note=note)

    def _is_repeat(self, head: Head, data: bytes, now: float) -> bool:
        assert self._repeats is not None
        if self._repeats.over(now):
            self._repeats = None
            return False
        if not self._repeats.holds(data):
            return False
        if head.type == "tool_call" and (execution_id := read_keys(data).execution_id) is not None:
            self._results.asked_again(execution_id)
        self._drop("duplicate", f"message {head.id} had come before the link fell")
        return True

    def _is_for_the_link(self, head: Head, data: bytes) -> bool:
        """What an error says about the link itself is heeded; True if clients need not know."""
        code = refusal_code(data)
        if code == 429:
            self._link.slow_down()
        # The link renews its credential; clients hear if that is refused.
        return code == 401 and head.reply_to is None

    def _refuse(self, head: Head, data: bytes, now: float) -> bool:
        """Where the upstream refuses a batch that we have made: each message in it, by its id."""
        refusals = self._link.batches.refused(head.reply_to, data)
        for each in refusals:
            self._hand_out(each, self._concerns(peek(each) or Head(), each, now), now)
        return bool(refusals)

    def _concerns(self, head: Head, data: bytes, now: float) -> str | None:
        """The name of the client a message is for; None: for all of them."""
        routed = self._routing.route(head, data, now)
        client, route, progress = routed.client, routed.route, routed.progress
        if progress is not None:
            progress.note(self._numbers, self._link.life.session_id, now)
        late = client is not None and client not in self._roster.by_name
        self._numbers.routes[Route.LATE if late else route] += 1
        if self._upward.held.count and (progress is not None or head.type in _MAY_RELEASE):
            self._upward.release()
        return client if self._to_askers_only else None

    def _deliver_to_all(self, data: bytes, seq: int, first_byte: int, frame: bytes) -> None:
        """One frame for all who get it; a second one for those who read our corner."""
        clients = self._roster.clients
        self._numbers.deliveries += len(clients)
        if not self._roster.corners:
            self._roster.group.offer(frame, seq)
            return
        corner = {"cursor": self._ring.cursor(seq)}
        marked = server_frame(with_corner(data, corner) if first_byte == TEXT else data, first_byte)
        for client in clients.values():
            client.outbox.offer(marked if client.wishes.corner else frame, seq)

    def _deliver_apart(self, batch: bytes, now: float) -> bool:
        """Hand out what a batch holds, each as if it had come by itself; False: it may go on
        as it came."""
        texts = messages_within(batch)
        if texts is None:  # a call or an answer in it would reach those whom it is not for
            self._drop("batch", f"a batch of {len(batch)} bytes: too many messages, or too deep")
            return True
        inner = [(peek(each) or Head(), each) for each in texts]
        if not self._to_askers_only and all(head.type not in _FOR_US for head, _ in inner):
            for head, data in inner:
                if self._routing.requests:
                    self._concerns(head, data, now)  # one of them may be answered
            return False
        for head, data in inner:
            self._deliver_inner(head, data, now)
        return bool(inner)

    def _deliver_inner(self, head: Head, data: bytes, now: float) -> None:
        if self._repeats is not None and self._is_repeat(head, data, now):
            return
        if head.metadata is not None and head.metadata.megabot is not UNSET:
            data = without_corner(data)
        if head.type == "tool_call":
            self._deliver_call(head, data)
        elif head.type != "connection_error" or not self._is_for_the_link(head, data):
            self._hand_out(data, self._concerns(head, data, now), now)

    def frame_for(self, client: LocalClient, kept: Kept) -> bytes | None:
        """A message out of the ring, as one client gets it. None: a tool call that is not its
        to carry out, or not any more, for one that could not tell that it only looks on."""
        if kept.binary:
            return server_frame(kept.data, BINARY)
        if not self._is_to_look_at(client, kept.data):
            return server_frame(self._for(client, kept.data, kept.seq))
        if not client.wishes.corner:
            return None
        corner = {"cursor": self._ring.cursor(kept.seq), "read_only": True}
        return server_frame(with_corner(kept.data, corner))

    def _is_to_look_at(self, client: LocalClient, data: bytes) -> bool:
        head = peek(data)
        if head is None or head.type != "tool_call":
            return False
        execution_id = read_keys(data).execution_id
        if execution_id is None:
            return False  # nobody can tell what became of it
        if not self._executions.may_begin(execution_id, client.name):
            return True
        self._executions.handed(execution_id, client.id)
        return False

    def _for(self, client: LocalClient, data: bytes, seq: int) -> bytes:
        """A message as one client gets it: with our corner, if it reads it."""
        if not client.wishes.corner:
            return data
        return with_corner(data, {"cursor": self._ring.cursor(seq)})

    # -- tool calls ------------------------------------------------------------------------

    def _deliver_call(self, head: Head, data: bytes) -> None:
        """An executor carries a call out. Others may look on if they can tell that they only
        look on; without an executor all may answer, and the first answer counts."""
        execution_id = read_keys(data).execution_id
        executor = self._executor_of(head, data)
        again = execution_id is not None and self._executions.is_open(execution_id)
        if execution_id is not None:
            if self._results.asked_again(execution_id):
                self._drop("duplicate", f"the call {execution_id} has been answered before")
                return
            name = executor.name if executor is not None else None
            name = self._executions.called(execution_id, name)
            executor = self._roster.by_name.get(name) if name is not None else None
            if name is not None and not self._is_new_to(executor, execution_id):
                self._drop("duplicate", f"the call {execution_id} is being carried out")
                return
        now = self._time()
        to = executor.name if executor is not None else self._concerns(head, data, now)
        if executor is None and execution_id is not None:
            new = self._new_to(execution_id, to)
            if again:
                self._show_call_to(new, execution_id, data, now)
                return
        seq = self._hand_out(data, to, now)
        if executor is not None and self._roster.corners:
            self._let_look_on(executor, data, seq)

    def _executor_of(self, head: Head, data: bytes) -> LocalClient | None:
        """Who is to carry out a call: whose request it is part of knows best what its tools are;
        else, or where that is no executor, the oldest executor."""
        name = self._routing.asker_of(head, data)
        asker = self._roster.by_name.get(name) if name is not None else None
        return asker if asker is not None and asker.wishes.executor else self._roster.executor

    def _is_new_to(self, executor: LocalClient | None, execution_id: str) -> bool:
        """Whether whoever carries a call out is there, and has not been given it."""
        return executor is not None and not self._executions.handed(execution_id, executor.id)

    def _new_to(self, execution_id: str, to: str | None) -> list[LocalClient]:
        """Those whom a call for everybody, or for one (`to`), concerns and who have not had it."""
        by_name = self._roster.by_name
        concerned = by_name.values() if to is None else filter(None, [by_name.get(to)])
        handed = self._executions.handed
        return [client for client in concerned if not handed(execution_id, client.id)]

    def _show_call_to(
        self, clients: list[LocalClient], execution_id: str, data: bytes, now: float
    ) -> None:
        """A call is made again, and there is still no executor: once is enough for each."""
        if not clients:
            self._drop("duplicate", f"the call {execution_id} is known to all who are here")
        for client in clients:
            self._hand_out(data, client.name, now)

    def _let_look_on(self, executor: LocalClient, data: bytes, seq: int) -> None:
        corner = {"cursor": self._ring.cursor(seq), "read_only": True}
        frame = server_frame(with_corner(data, corner))
        for client in self._roster.clients.values():
            if client is not executor and client.wishes.corner:
                client.outbox.offer(frame, seq)

    def _hand_out(self, data: bytes, to: str | None, now: float) -> int:
        """Number a text, keep it, and give it to the client it is for; None: to all."""
        seq = self._ring.add(data, now, to=to)
        if to is None:
            self._deliver_to_all(data, seq, TEXT, server_frame(data))
        elif (client := self._roster.by_name.get(to)) is not None:
            self._numbers.deliveries += 1
            client.outbox.offer(server_frame(self._for(client, data, seq)), seq)
        return seq
