"""Conversations, which outlive the connections they are held over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.config.schema import OutboxSettings
from megabot_cli.gateway import outgoing
from megabot_cli.gateway.answers import MOST_TURNS_REMEMBERED, Answers
from megabot_cli.gateway.assistants.interface import Assistant
from megabot_cli.gateway.backlog import Backlog
from megabot_cli.gateway.ledger import Ledger
from megabot_cli.wording import counted

MOST_SESSIONS = 10_000
MOST_ID_LENGTH = 128

log = structlog.get_logger()


class Listener(Protocol):
    """A connection as its session sees it."""

    @property
    def congested(self) -> bool: ...

    def send(self, message: bytes) -> None: ...


class Session:
    """One user's conversation.

    What it says goes to every connection of the session, in order; while there is none it
    waits in the backlog for the next.
    """

    def __init__(
        self,
        session_id: str,
        user_id: str,
        assistant: Assistant,
        tasks: TaskSet,
        outbox: OutboxSettings,
        now: float,
    ) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self.idle_since = now
        self.answers = Answers(self, assistant, tasks)
        self._listeners: list[Listener] = []
        # Half an outbox: a client that resumes is handed all of it at once.
        self._backlog = Backlog(max(1, outbox.messages // 2), outbox.bytes // 2)
        self._room = asyncio.Event()
        self._kept_changes = 0  # of the backlog, when it was last put down

    def restore(self, turns: Sequence[tuple[str, str]], waiting: Sequence[bytes]) -> None:
        """What was said, and what is still to be delivered, before a restart."""
        self.answers.restore(turns)
        for message in waiting:
            self._backlog.add(message)
        self._kept_changes = self._backlog.changes

    def newly_waiting(self) -> list[bytes] | None:
        """What is to be delivered, if that is something else than when last asked."""
        if self._backlog.changes == self._kept_changes:
            return None
        self._kept_changes = self._backlog.changes
        return self._backlog.held()

    def goodbye(self) -> None:
        """A client has left as one leaves who is done; where nobody else listens, so are we."""
        if not self._listeners:
            self.answers.interrupt()

    def in_use(self) -> bool:
        return bool(self._listeners) or self.answers.under_way

    def send(self, message: bytes) -> None:
        if not self._listeners:
            self._backlog.add(message)
        for listener in self._listeners:
            listener.send(message)

    async def until_room(self) -> None:
        """Return when at least one connection keeps up, or none is there to wait for.

        The quickest sets the pace: a slow one has its outbox, and is closed when that is full.
        """
        while self._listeners and all(listener.congested for listener in self._listeners):
            self._room.clear()
            await self._room.wait()

    def room_made(self) -> None:
        self._room.set()

    def attach(self, listener: Listener) -> None:
        """Add a connection; it gets what nobody has had yet, then all that follows."""
        waiting, dropped = self._backlog.take()
        if dropped:
            listener.send(_gap_notice(dropped, self.session_id))
        for message in waiting:
            listener.send(message)
        self._listeners.append(listener)
        self.room_made()

    def detach(self, listener: Listener, undelivered: list[bytes], now: float) -> None:
        """Remove a connection. What it did not take is kept if no other one had it."""
        self._listeners.remove(listener)
        if not self._listeners:
            for message in undelivered:
                self._backlog.add(message)
        self.idle_since = now
        self.room_made()


class SessionTable:
    """All sessions in memory; whose they were before a restart is in the ledger."""

    def __init__(
        self,
        make: Callable[[str, str], Session],
        ledger: Ledger,
        *,
        lifetime_s: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._make = make
        self._ledger = ledger
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._wall = wall
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, asked_id: str | None, user_id: str) -> tuple[Session, bool]:
        """The session asked for if it is this user's and not gone, else a new one.

        The second value says whether it was there before.
        """
        session = self._find(asked_id, user_id) if asked_id else None
        resumed = session is not None
        if session is None:
            session = self._add(new_id("sess"), user_id)
        self.note_use(session)
        return session, resumed

    def forget(self, session_id: str, user_id: str) -> None:
        """Forget a session of this user's; it is not there for anybody who asks later."""
        if (session := self._find(session_id, user_id)) is not None:
            self._forget(session)

    def note_use(self, session: Session) -> None:
        self._ledger.note_session(session.session_id, session.user_id, self._wall())

    def put_down(self) -> None:
        """Write what waits for delivery where it has changed, if it will be kept at all."""
        if not self._ledger.kept:
            return
        for session in self._sessions.values():
            if (waiting := session.newly_waiting()) is not None:
                self._ledger.note_waiting(session.session_id, waiting)

    def expire(self) -> bool:
        """Forget sessions that nobody has used for their lifetime; whether there are more."""
        expired_at = self._clock() - self._lifetime_s
        for session in list(self._sessions.values()):
            if session.in_use():
                self.note_use(session)
            elif session.idle_since < expired_at:
                self._forget(session)
        now = self._wall()
        return self._ledger.purge(now=now, used_since=now - self._lifetime_s)

    def _find(self, session_id: str, user_id: str) -> Session | None:
        session = self._sessions.get(session_id)
        if session is not None:
            expired = session.idle_since < self._clock() - self._lifetime_s
            if expired and not session.in_use():
                self._forget(session)
                return None
            return session if session.user_id == user_id else None
        if len(session_id) > MOST_ID_LENGTH or not session_id.isascii():
            return None
        used_since = self._wall() - self._lifetime_s
        if self._ledger.owner(session_id, used_since=used_since) != user_id:
            return None
        session = self._add(session_id, user_id)
        session.restore(self._ledger.turns(session_id), self._ledger.waiting(session_id))
        return session

    def _add(self, session_id: str, user_id: str) -> Session:
        if len(self._sessions) >= MOST_SESSIONS:
            self._forget_longest_idle()
        session = self._sessions[session_id] = self._make(session_id, user_id)
        if self._ledger.kept:
            session.answers.on_turn = partial(self._note_turn, session_id)
        return session

    def _note_turn(self, session_id: str, question: str, answer: str) -> None:
        self._ledger.note_turn(session_id, question, answer, most=MOST_TURNS_REMEMBERED // 2)

    def _forget_longest_idle(self) -> None:
        idle = [session for session in self._sessions.values() if not session.in_use()]
        if idle:
            self._forget(min(idle, key=lambda session: session.idle_since))

    def _forget(self, session: Session) -> None:
        del self._sessions[session.session_id]
        self._ledger.forget_session(session.session_id)
        log.info("session.expired", session=session.session_id)


def _gap_notice(dropped: int, session_id: str) -> bytes:
    count = counted(dropped, "message")
    payload = {
        "type": "warning",
        "title": "Messages were lost",
        "message": f"{count} came while nobody was connected and could not be kept.",
        "dismissible": True,
    }
    return outgoing.message("notification", payload, session_id=session_id)
