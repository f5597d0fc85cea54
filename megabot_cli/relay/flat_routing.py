"""Whose answer is whose where many clients share a link to an upstream of the flat dialect.

That dialect has no ids, and answers whatever it hears: so one request is under way at a time,
whatever its kind (a refusal is plain text, whoever it is for), and what may be its answer goes
to the one that asked.
"""

from __future__ import annotations

from typing import Final

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import Head
from megabot_cli.relay.routing import Progress, Request, Route, Routed, Routing
from megabot_cli.telemetry.metrics import OTHER

FLAT: Final = "flat"
"""The kind of all requests: an answer to one of them could be taken for that to any other."""

_OURS: Final = "flat request "  # how the names begin that such requests have in the relay
_EVERYBODY: Final = Routed(Route.BROADCAST)


class FlatRouting(Routing):
    """The requests of one such link. They get names of the relay's own, which it tells nobody."""

    def __init__(self) -> None:
        super().__init__(forgets=True)
        self._named = 0
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
        """The one request under way has its answer when what fits comes, or a refusal.

        What was decided on an action is everybody's to know.
        """
        request = self._answered_by(head, data)
        if request is None:
            return _EVERYBODY
        self._is_understood = True
        self._settle(request, now)
        progress = Progress(reply_s=now - request.sent_at, settled=request)
        if request.kind in flat.DECISIONS and head.type is not None:
            return Routed(Route.BROADCAST, progress=progress)
        return Routed(Route.FIFO, request.client, progress)

    def asker_of(self, head: Head, data: bytes) -> str | None:
        """Whose request a message from upstream answers; nothing is noted."""
        request = self._answered_by(head, data)
        return request.client if request is not None else None

    def _answered_by(self, head: Head, data: bytes) -> Request | None:
        request = next(iter(self.requests.values()), None)
        if request is None or self._is_understood is False:
            return None
        answers = head.type is not None and head.type == flat.ANSWERS.get(request.kind)
        return request if answers or flat.is_refusal(data) else None

    def expire(self, now: float, after_s: float) -> list[Request]:
        """As ever. An upstream of which no answer was ever understood answers in words of its
        own: then nobody waits for another one, and everybody hears everything."""
        expired = super().expire(now, after_s)
        if expired and self._is_understood is None:
            self._is_understood = False
        return expired


def told_id(message_id: str | None) -> str | None:
    """The id by which a client knows its message: none that the relay made up for itself."""
    made_up = message_id is not None and message_id.startswith(_OURS)
    return None if made_up else message_id
