"""Whose answer is whose on a link to an upstream of the flat dialect.

That dialect has no ids, and answers whatever it hears. Where many clients share a link one request
is under way at a time, whatever its kind (a refusal is plain text, whoever it is for), and what may
be its answer goes to the one that asked. One that nobody waits for any longer may still be
answered: what could be its answer as well as that to a later one concerns everybody.

Elsewhere everybody hears everything, and several may be under way; answers count for the oldest
that they fit, so that it is known what is open when the link falls.
"""

from __future__ import annotations

from typing import Final

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import Head
from megabot_cli.relay.routing import Progress, Request, Route, Routed, Routing, is_clear
from megabot_cli.telemetry.metrics import OTHER

FLAT: Final = "flat"
"""The kind of all requests: an answer to one of them could be taken for that to any other."""

_OURS: Final = "flat request "  # how the names begin that such requests have in the relay
_EVERYBODY: Final = Routed(Route.BROADCAST)


class FlatRouting(Routing):
    """The requests of one such link. They get names of the relay's own, which it tells nobody."""

    def __init__(self, *, in_order: bool = False) -> None:
        super().__init__(in_order=in_order, forgets=True)
        self._named = 0
        self._doubted: set[str] = set()  # types of answers to what may not have been refused
        self._is_understood: bool | None = None  # whether what comes are answers; None: not seen

    def name(self, message_type: str | None) -> str:
        """A name for a client's message, as if it had an id."""
        self._named += 1
        known = message_type if message_type in flat.ANSWERS else OTHER
        return f"{_OURS}{self._named} {known}"

    def must_hold(self, kind: str | None) -> bool:
        return kind is not None and bool(self.requests) and self._is_understood is not False

    def sent(self, message_id: str, client: str, now: float, kind: str = FLAT) -> None:
        """A request went up; its type is part of its name."""
        super().sent(message_id, client, now, message_id.rpartition(" ")[2])

    def route(self, head: Head, data: bytes, now: float) -> Routed:
        """The request under way has its answer when what fits comes, or a refusal.

        What was decided on an action is everybody's to know.
        """
        request = self._first_of(self.requests, head, data)
        late = self._first_of(self._given_up, head, data)
        late = None if late is None or is_clear(late, now) else late
        if self._in_order:
            request = self._put_right(request, head, data)
        if request is None and late is None:
            return _EVERYBODY
        self._is_understood = True
        if request is None:
            assert late is not None
            del self._given_up[late.message_id]
            return _to_its_asker(late, head, None)
        self._settle(request, now)
        progress = Progress(reply_s=now - request.sent_at, settled=request)
        if late is not None:  # one of the two still has its answer to come, and nobody knows which
            late.client, late.settled_at = "", now
            return Routed(Route.BROADCAST, progress=progress)
        return _to_its_asker(request, head, progress)

    def asker_of(self, head: Head, data: bytes) -> str | None:
        """Whose request a message from upstream answers; nothing is noted."""
        request = self._first_of(self.requests, head, data)
        late = self._first_of(self._given_up, head, data)
        if request is not None and late is not None:
            return None
        found = request or late
        return found.client or None if found is not None else None

    def _first_of(self, requests: dict[str, Request], head: Head, data: bytes) -> Request | None:
        """The oldest of these that a message may answer."""
        if not requests or self._is_understood is False:
            return None
        if flat.is_refusal(data):
            unknown = (each for each in requests.values() if each.kind == OTHER)
            return next(unknown, next(iter(requests.values())))
        for request in requests.values():
            if head.type is not None and head.type == flat.ANSWERS.get(request.kind):
                return request
        return None

    def _put_right(self, request: Request | None, head: Head, data: bytes) -> Request | None:
        """A refusal may have been for another request than the one it was taken for: if that is
        answered after all, what is open is one less all the same."""
        if request is not None:
            if len(self.requests) == 1:
                self._doubted.clear()
            elif flat.is_refusal(data) and request.kind in flat.ANSWERS:
                self._doubted.add(flat.ANSWERS[request.kind])
            return request
        if head.type not in self._doubted or not self.requests:
            return None
        self._doubted.remove(head.type)
        return next(iter(self.requests.values()))

    def expire(self, now: float, after_s: float) -> list[Request]:
        """As ever; an answer may still come for them. An upstream of which no answer was ever
        understood answers in words of its own: then nobody waits for another one, and everybody
        hears everything."""
        expired = super().expire(now, after_s)
        if expired and self._is_understood is None:
            self._is_understood = False
        return expired

    def line_lost(self, now: float) -> None:
        """As ever: what was given up on it is not answered on the next one."""
        super().line_lost(now)
        self._doubted.clear()


def _to_its_asker(answered: Request, head: Head, progress: Progress | None) -> Routed:
    if not answered.client or (answered.kind in flat.DECISIONS and head.type is not None):
        return Routed(Route.BROADCAST, progress=progress)
    return Routed(Route.FIFO, answered.client, progress)


def told_id(message_id: str | None) -> str | None:
    """The id by which a client knows its message: none that the relay made up for itself."""
    made_up = message_id is not None and message_id.startswith(_OURS)
    return None if made_up else message_id
