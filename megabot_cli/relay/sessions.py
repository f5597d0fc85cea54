"""All sessions of one relay, found by any name they have had."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from megabot_cli.client.tasks import TaskSet
from megabot_cli.errors import MegabotError
from megabot_cli.relay.absentees import Left
from megabot_cli.relay.link_life import LinkState
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.session import Session

log = structlog.get_logger("relay")


class Sessions:
    """Opens, finds and ends sessions.

    One link is dialled ahead: it proves at start that the upstream lets us in, and the
    first client that names no session takes it over without waiting.
    """

    def __init__(self, parts: RelayParts) -> None:
        self._parts = parts
        self._shared = parts.settings.mode == "shared"
        self._engine = parts.engine
        self._all: dict[str, Session] = {}  # by the link that holds the lease
        self._ahead: Session | None = None
        # Where clients with a name were when their session ended, and what that was called.
        self._gone: dict[str, tuple[Left, frozenset[str]]] = {}
        self._tasks = TaskSet()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._all.values()))

    def open_ahead(self) -> Session:
        """Dial the link that the first client without a session will get.

        The caller tells it when the first dial is refused: `Link.tell_refusal`.
        """
        self._ahead = self._open(None, None, None)
        self._ahead.link.watched = True
        return self._ahead

    def find_or_open(
        self,
        asked_id: str | None,
        user_id: str | None,
        platform: str | None,
        client_id: str | None = None,
    ) -> Session:
        """The session called `asked_id`, the one where `client_id` was, or a new one; each
        nameless client gets its own.

        In `shared` mode all clients get the one there is.
        """
        session = self.find_for(asked_id, user_id, client_id)
        if session is None and asked_id is None and user_id is None:
            session = self._ahead
        if session is None:
            session = self._open(asked_id, user_id, platform)
        else:
            self._revive(session)
        if session is self._ahead:
            self._ahead = None
        if client_id is not None:
            self._tell_what_is_gone(session, asked_id, client_id)
        return session

    def find_for(
        self, asked_id: str | None, user_id: str | None, client_id: str | None
    ) -> Session | None:
        """The session that a client comes to, if it is there already and not just anybody's."""
        if self._shared:
            return next(iter(self._all.values()), None)
        if asked_id is not None:
            return self.find(asked_id)
        if client_id is None:
            return None
        places = [each for each in self._all.values() if each.user_id == user_id]
        known = [each for each in places if each.absentees.last_here(client_id) is not None]
        return max(known, key=lambda each: each.absentees.last_here(client_id) or 0.0, default=None)

    def _tell_what_is_gone(self, session: Session, asked_id: str | None, client_id: str) -> None:
        """A client whose session has ended meanwhile is to hear that it goes on nowhere."""
        left, names = self._gone.get(client_id, (None, frozenset()))
        if left is None or not (asked_id is None or asked_id in names):
            return
        del self._gone[client_id]
        if session.absentees.last_here(client_id) is None:
            session.absentees.remember(client_id, left)

    def have_link(self, link: str) -> bool:
        return link in self._all

    def find(self, name: str) -> Session | None:
        """The session that has or had this name, if it is held here."""
        holder = self._engine.holder(self._parts.identity, name)
        return None if holder is None else self._all.get(holder)

    def _revive(self, session: Session) -> None:
        """A session whose credential was refused tries again for every new client."""
        if session.link.life.state is not LinkState.FAILED:
            return
        try:
            self._parts.reload_tokens()
        except MegabotError as fault:  # the one before may be good again; if not, clients hear it
            log.error(
                "credential.not_read",
                profile=self._parts.identity,
                fault=fault.message,
                hint=self._parts.hint_of(fault),
            )
        session.link.try_again()

    def _open(self, asked_id: str | None, user_id: str | None, platform: str | None) -> Session:
        session = Session(
            self._parts,
            asked_id=asked_id,
            user_id=user_id,
            platform=platform,
            on_named=self._named,
            on_ended=self.end,
            on_left=self._keep_few,
            shared=self._shared,
        )
        self._all[session.link.id] = session
        if asked_id is not None:
            self._named(session, asked_id)
        session.start()
        return session

    def _named(self, session: Session, name: str) -> None:
        self._engine.claim(self._parts.identity, name, session.link.id)

    def end(self, session: Session) -> None:
        """Nobody came back to it in time. From now on nobody can: who asks gets a new one."""
        self._forget(session)
        self._tasks.start(self._end(session), "end session")

    def _keep_few(self) -> None:
        """Who asks one thing after another, each by itself, leaves a link behind each time."""
        left = [each for each in self._all.values() if each.left_at is not None]
        surplus = len(left) - self._parts.settings.linger_links
        if surplus > 0:
            done = [each for each in left if each.idle]
            for session in sorted(done, key=lambda each: each.left_at or 0.0)[:surplus]:
                self.end(session)

    async def _end(self, session: Session) -> None:
        await session.stop()
        whose = {"link": session.link.id, **self._parts.whose}
        log.info("session.ended", session=session.session_id, **whose)

    def _forget(self, session: Session) -> None:
        self._all.pop(session.link.id, None)
        if self._ahead is session:
            self._ahead = None
        self._engine.release(self._parts.identity, session.link.id)
        for client_id, left in session.absentees.all_left():
            self._gone.pop(client_id, None)
            self._gone[client_id] = left, frozenset(session.names)
        while len(self._gone) > self._parts.settings.max_clients:
            del self._gone[next(iter(self._gone))]

    async def stop(self) -> None:
        """End all sessions and wait until their links are closed."""
        await asyncio.gather(*(session.stop() for session in self._all.values()))
        await self._tasks.stop()
        for session in list(self._all.values()):
            self._forget(session)
