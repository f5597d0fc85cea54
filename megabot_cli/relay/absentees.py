"""Who has left a session, how far each had come as far as anybody can know, and what each has
missed when it is back."""

from __future__ import annotations

import msgspec

from megabot_cli.protocol.close_codes import NO_CODE, CloseCode
from megabot_cli.protocol.envelope import peek
from megabot_cli.relay.engine import SessionRing
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.ring import Kept, Recovery
from megabot_cli.relay.roster import Roster

WITH_CURSOR = (CloseCode.SLOW_CLIENT, CloseCode.NO_PONG)  # the reason says where to go on


class Left(msgspec.Struct, frozen=True):
    """Where a client was. Not `sure`: it may not have read all that was written to it."""

    cursor: str
    sure: bool
    at: float  # of the event loop's clock


class Absentees:
    """The clients of one session that are not there; as many as may be connected are remembered.

    `shared`: an answer is for its asker alone, so that it matters who comes back.
    """

    def __init__(self, parts: RelayParts, ring: SessionRing, roster: Roster, *, shared: bool):
        self._parts = parts
        self._time = parts.loop.time
        self._ring = ring
        self._roster = roster
        self._shared = shared
        self._left: dict[str, Left] = {}  # by client_id
        self._told: dict[str, None] = {}  # without a client_id, and closed with a cursor

    # -- they go ---------------------------------------------------------------------------

    def goes(self, client: LocalClient, *, sure: bool) -> bool:
        """Note where it would have to go on; True: when it comes back it is known again.

        `sure`: it wanted to go, and had what it wanted. Else it may have had less than its
        socket took: how much it read nobody knows.
        """
        outbox = client.outbox
        if client.goes_by_cursor and client.close_sent in WITH_CURSOR:
            self._told[client.name] = None
            self._forget_oldest(self._told)
        if client.wishes.client_id is None:
            return client.name in self._told
        if not client.greeted:  # if it was here before, that is where it still is
            self.remember(client.name, self._left.get(client.name) or self._now(sure=True))
            return True
        seq = outbox.sent_seq if outbox.behind else self._ring.top
        sure = sure and not client.unsent
        if outbox.sent_seq == client.greeted_seq:
            seq, sure = client.greeted_seq, True  # it was sent nothing: all of it is missing
        self.remember(client.name, self._now(seq, sure=sure))
        return True

    def remember(self, client_id: str, left: Left) -> None:
        self._left.pop(client_id, None)  # it is the youngest now
        self._left[client_id] = left
        self._forget_oldest(self._left)

    def _forget_oldest(self, names: dict[str, Left] | dict[str, None]) -> None:
        while len(names) > self._parts.settings.max_clients:
            del names[next(iter(names))]

    def _now(self, seq: int | None = None, *, sure: bool) -> Left:
        return Left(self._ring.cursor(seq), sure, self._time())

    def last_here(self, client_id: str) -> float | None:
        """When a client of this name was here last, if it ever was."""
        if client_id in self._roster.by_name:
            return self._time()
        left = self._left.get(client_id)
        return None if left is None else left.at

    def all_left(self) -> list[tuple[str, Left]]:
        """Where everybody with a name was last, now that the session ends."""
        clients = self._roster.clients.values()
        named = [each for each in clients if each.wishes.client_id is not None]
        return [*self._left.items(), *((each.name, self._now(sure=False)) for each in named)]

    # -- they come back --------------------------------------------------------------------

    def comes(self, client: LocalClient) -> None:
        """If the cursor that it brings says who it is, it is that one from now on."""
        client.goes_by_cursor = self._shared and client.wishes.client_id is None
        if client.goes_by_cursor and client.wishes.cursor is not None:
            name = client.wishes.cursor.partition("@")[2]
            if name in self._told:
                client.name = name

    def recover(self, client: LocalClient) -> Recovery | None:
        """What a client that has been here before has missed; None: it does not ask.

        Where it may have missed more than is certain, what is certain follows all the same.
        """
        asked, left = client.wishes.cursor, self._left.pop(client.name, None)
        if asked is not None:
            cursor, sure = asked.partition("@")[0], True
        elif left is not None:
            cursor, sure = left.cursor, left.sure
        else:
            return None
        recovery = self._ring.since(cursor, client.name, self._time())
        known = left is not None or client.name != (client.wishes.client_id or client.id)
        if self._shared and not known:
            sure = not any(self._may_be_its(kept) for kept in recovery.others)
        if recovery.reason is None and not sure:
            return msgspec.structs.replace(recovery, reason="unknown")
        return recovery

    def _may_be_its(self, kept: Kept) -> bool:
        """Whether a message for one asker alone may be for somebody of whom nothing is known. A
        tool call is for whoever was there to carry it out."""
        assert kept.to is not None
        head = peek(kept.data)
        if head is not None and head.type == "tool_call":
            return False
        asker = self._roster.by_name.get(kept.to)
        named = asker is not None and asker.wishes.client_id is not None
        return not named and kept.to not in self._left


def is_goodbye(code: int) -> bool:
    """Whether a client closed because it wanted to. Codes of faults say that it could not go on,
    and a line that was cut says nothing."""
    return code in (CloseCode.NORMAL, CloseCode.GOING_AWAY, NO_CODE) or code >= 3000
