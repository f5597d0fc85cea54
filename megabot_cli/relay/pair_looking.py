"""What is seen of the messages that pass between a dedicated client and its upstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from megabot_cli.protocol.compression import compress
from megabot_cli.protocol.envelope import UNREADABLE, Head, decode_head, peek
from megabot_cli.protocol.frames import server_frame
from megabot_cli.protocol.greeting import GREETING, greeted
from megabot_cli.relay.checks import (
    CUT_SHORT,
    NO_MORE,
    Checks,
    LastChecksOfPair,
    Objection,
    begins_something,
    delivery_unknown,
    head_of,
    name_of,
)
from megabot_cli.relay.dialling import ARRIVING_FACTOR
from megabot_cli.relay.parts import RelayParts, notice
from megabot_cli.relay.routing import ASKS, Request, Route, Routing, note_slow
from megabot_cli.relay.unfolding import Opaque, Overgrown, Unfolding, messages_within, too_big
from megabot_cli.relay.utf8 import all_ascii, is_utf8
from megabot_cli.telemetry.metrics import OTHER


class PairLooking:
    """Counts, checks, and tells who watches. `say` gives the client a frame of the relay's own.

    `gzip`: the two have agreed on it (`?compression=gzip`). Else what is binary is nobody's
    business, whatever it looks like.
    """

    def __init__(
        self,
        parts: RelayParts,
        client_id: str,
        link_id: str,
        say: Callable[[bytes], None],
        *,
        gzip: bool,
    ) -> None:
        self.client_id = client_id
        self.link_id = link_id
        self.session_id: str | None = None  # as the upstream's greeting says, if it is one
        self.greeting: bytes | None = None  # of a flat upstream
        if parts.profile.dialect == "flat":
            self.look_down = self._look_first  # type: ignore[method-assign]
        self.routing = Routing(in_order=True, forgets=True)
        self._say = say
        self._parts = parts
        self._numbers = parts.numbers
        self._witness = parts.witness
        self._checks = Checks(parts.settings, parts.limits, parts.numbers)
        self._unfold_up = Unfolding(parts) if gzip else Opaque(parts)
        self._unfold_down = Unfolding(parts, ARRIVING_FACTOR) if gzip else Opaque(parts)

    def look_up(self, batch: list[bytes], binary: bool) -> list[bytes]:
        """Tell who watches; returns the messages to which nobody objects."""
        numbers, types, routing = self._numbers, self._numbers.types_to_upstream, self.routing
        checks, unfold = self._checks, self._unfold_up
        now = self._parts.loop.time()
        client = self.client_id
        tell = self._tell_together("to_upstream", batch, binary)
        accepted = []
        for data in batch:
            good = None if binary else checks.clear(data)
            if good is not None:
                kind: str | None = good.type
                if tell is not None:
                    tell("to_upstream", data, head_of(good), binary)
                types[kind] += 1
                accepted.append(data)
                if kind in ASKS:
                    routing.sent(good.id, client, now, kind)
                elif kind == "batch":
                    self._asked_within(good.id, data, now)
                continue
            try:
                head = unfold.head(data) if binary else decode_head(data)
            except UNREADABLE:
                head = peek(data)
            if tell is not None:
                tell("to_upstream", data, head, binary)
            kind = None if head is None else head.type
            try:
                types[kind] += 1
            except KeyError:
                types[OTHER] += 1
            if head is None or head.id is None or kind is None:
                numbers.malformed_to_upstream += 1
            objection = (
                checks.judge_binary(data, head, unfold)
                if binary
                else checks.judge(data, head, binary=False)
            )
            if objection is None:
                accepted.append(data)
                if kind in ASKS and head is not None and head.id is not None:
                    routing.sent(head.id, client, now, kind)
                elif kind == "batch" and head is not None:
                    self._asked_within(head.id, unfold.text(data, binary), now)
            else:
                self._object(head, objection)
        return accepted

    def text_up(self, data: bytes, binary: bool) -> bytes:
        """What can be read of a message of the client's."""
        return self._unfold_up.text(data, binary)

    def _asked_within(self, batch: str | None, text: bytes, now: float) -> None:
        """A batch goes up: what it asks is awaited as what comes by itself is."""
        for each in messages_within(text) or ():
            head = peek(each)
            if head is not None and head.id is not None and head.type in ASKS:
                self.routing.sent(head.id, self.client_id, now, head.type)
                if batch is not None:
                    self.routing.within(head.id, batch)

    def take_no_more(self) -> None:
        """From now on `look_up_last` is what says which messages go up."""
        parts = self._parts
        self._checks = LastChecksOfPair(parts.settings, parts.limits, parts.numbers)

    def look_up_last(self, batch: list[bytes], binary: bool) -> list[bytes]:
        """As `look_up`, of a relay that stops: what asks for something is refused by id, and the
        results of tool calls go on, also those in a batch."""
        going: list[bytes] = []
        for one in batch:  # so that all is refused in the order in which it came
            for data in self.look_up([one], binary):
                going += self._still_going(data, binary)
        return going

    def _still_going(self, data: bytes, binary: bool) -> list[bytes]:
        text = self._unfold_up.text(data, binary)
        head = peek(text)
        if head is None or head.type != "batch":
            return [data]
        inner = messages_within(text)
        if inner is None:
            self._object(head, NO_MORE)
            return []
        going = []
        for each in inner:
            if (found := peek(each)) is not None and begins_something(found):
                self.routing.take([found.id or ""])
                self._object(found, NO_MORE)
            else:
                going.append(each)
        if len(going) == len(inner):
            return [data]
        return [compress(each) for each in going] if binary else going

    def give_up_open(self, left: list[tuple[bytes, bool]], why: str) -> None:
        """Tell the client by id of what it asked and nobody answers any more; of what is `left`,
        and has not gone up, `cut_short` tells."""
        not_sent = {head.id for head in self._heads(left) if head is not None}
        for request in self.routing.take_all():
            if request.message_id not in not_sent:
                self._numbers.delivery_unknown += 1
                self._refuse(request.message_id, delivery_unknown(why))

    def cut_short(self, left: list[tuple[bytes, bool]]) -> None:
        """Tell the client by id of what will not go up any more (and whether that is binary), of a
        batch of all that is in it too."""
        for head in self._heads(left):
            if name_of(head) is not None:
                self._object(head, CUT_SHORT)

    def _heads(self, messages: list[tuple[bytes, bool]]) -> Iterator[Head | None]:
        """Those of messages, and of what is in batches among them."""
        for data, binary in messages:
            text = self._unfold_up.text(data, binary)
            yield from map(peek, (text, *(messages_within(text) or ())))

    def _tell_together(
        self, direction: str, batch: list[bytes], binary: bool
    ) -> Callable[[str, bytes, Head | None, bool], None] | None:
        """Tell who watches of all that came; else returns what tells of one of them."""
        witness = self._witness
        if witness.together is not None and (binary or all_ascii(batch)):
            witness.together(
                direction, batch, self.link_id, self.session_id, self.client_id, binary
            )
            return None
        return self._tell if witness.watching else None

    def _tell(self, direction: str, data: bytes, head: Head | None, binary: bool) -> None:
        opaque = binary or not is_utf8(data)
        self._witness.message(
            direction, data, head, self.link_id, self.session_id, self.client_id, opaque
        )

    def _object(self, head: Head | None, objection: Objection) -> None:
        self._refuse(name_of(head), objection)

    def _refuse(self, message_id: str | None, objection: Objection) -> None:
        self._numbers.error_answers[objection.error] += 1
        payload: dict[str, object] = {
            "error": objection.error,
            "message": objection.message,
            "code": objection.code,
        }
        text = notice("connection_error", payload, reply_to=message_id)
        self._witness.message(
            "to_client",
            text,
            peek(text),
            link=self.link_id,
            session=self.session_id,
            client=self.client_id,
            kind="inject",
        )
        self._say(server_frame(text))

    def _look_first(self, batch: list[bytes], binary: bool) -> None:
        """A flat upstream's first words are its greeting: what is recorded later needs it."""
        del self.look_down  # from here on the class's own
        first = peek(batch[0]) if batch and not binary else None
        if first is not None and first.type == "message" and first.id is None:
            self.greeting = batch[0]
        self.look_down(batch, binary)

    def look_down(self, batch: list[bytes], binary: bool) -> None:
        """The same of the upstream's, which pass in any case. Raises `too_big`."""
        numbers, types, routing = self._numbers, self._numbers.types_to_client, self.routing
        now = self._parts.loop.time()
        tell = self._tell_together("to_client", batch, binary)
        requests, unfold = routing.requests, self._unfold_down
        answered: list[Request] = []
        for data in batch:
            try:
                head = unfold.head(data) if binary else decode_head(data)
            except UNREADABLE:
                head = peek(data)
            if tell is not None:
                tell("to_client", data, head, binary)
            kind = None if head is None else head.type
            try:
                types[kind] += 1
            except KeyError:
                types[OTHER] += 1
            if head is None or head.id is None or kind is None:
                numbers.malformed_to_client += 1
                if binary and isinstance(head, Overgrown):
                    raise too_big()
                continue
            metadata = head.metadata
            if kind == "chat_receive" and metadata is not None and metadata.reply_to is not None:
                request = requests.pop(metadata.reply_to, None)
                if request is not None:
                    answered.append(request)
                    continue
            if kind == GREETING:
                named = greeted(unfold.text(data, binary))
                self.session_id = named.session_id or self.session_id
                self._witness.meet(self.link_id, named.user_id)
            if requests and kind == "batch":
                self._answered_within(unfold.text(data, binary), now)
            elif requests:
                # For figures alone: here everything is for the one client there is.
                routed = routing.route(head, unfold.text(data, binary) if binary else data, now)
                numbers.routes[routed.route] += 1
                if (progress := routed.progress) is not None:
                    progress.note(numbers, self.session_id, now)
        if answered:
            routing.answered(answered, now)
            numbers.routes[Route.EXACT] += len(answered)
            took_s = [now - each.sent_at for each in answered if each.completed_at is None]
            numbers.reply_s.observe_all(took_s)
            if took_s and numbers.slow_replies.may_be_one(max(took_s), now):
                note_slow(numbers, answered, self.session_id, now)

    def _answered_within(self, text: bytes, now: float) -> None:
        """The same of each message in a batch of the upstream's."""
        for each in messages_within(text) or ():
            routed = self.routing.route(peek(each) or Head(), each, now)
            self._numbers.routes[routed.route] += 1
            if (progress := routed.progress) is not None:
                progress.note(self._numbers, self.session_id, now)
