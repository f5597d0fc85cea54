"""One session: its link, the clients on it, and who hears what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from megabot_cli.client.dial import Greeting
from megabot_cli.errors import MegabotError
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import Head, peek
from megabot_cli.protocol.validation import Problem, check
from megabot_cli.relay.link import Link
from megabot_cli.relay.link_life import Verdict
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.owned_tasks import OwnedTasks
from megabot_cli.relay.parts import RelayParts, notice
from megabot_cli.relay.pending import ASKS, PendingRequests, Request
from megabot_cli.relay.upstream_queue import Waiting
from megabot_cli.relay.wire import BINARY, TEXT, server_frame

log = structlog.get_logger("relay")

# After a resume the upstream may go on with what it was asked; longer silence is a loss.
RESUMED_GRACE_S = 5.0

# Clients commonly give up on a greeting after 10 s: before that they hear what is wrong.
GREETING_S = 4.0


class Session:
    """All clients of one `session_id` and the one link they share."""

    def __init__(
        self,
        parts: RelayParts,
        *,
        asked_id: str | None,
        user_id: str | None,
        platform: str | None,
        on_named: Callable[[Session, str], None],
        on_ended: Callable[[Session], None],
    ) -> None:
        self.clients: dict[str, LocalClient] = {}
        self.greeting: Greeting | None = None
        self.names: set[str] = {asked_id} if asked_id else set()
        self.pending = PendingRequests()
        self.link = Link(parts, self, asked_session=asked_id, user_id=user_id, platform=platform)
        self._parts = parts
        self._numbers = parts.numbers
        self._witness = parts.witness
        self._on_named = on_named
        self._on_ended = on_ended
        self._tasks = OwnedTasks()
        self._linger: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self.first_outcome = asyncio.Event()  # set once the first dial has ended either way

    @property
    def session_id(self) -> str | None:
        return self.link.life.session_id

    def start(self) -> None:
        self._tasks.start(self.link.run(), f"link {self.link.id}")
        self._linger_if_alone()

    async def stop(self) -> None:
        """Close the link without ending the session upstream."""
        for timer in (self._linger, self._grace):
            if timer is not None:
                timer.cancel()
        await self._tasks.stop()

    # -- clients come and go -------------------------------------------------------------

    def attach(self, client: LocalClient) -> None:
        """Take a client in. It is greeted at once where the session is known, else when the
        link is up; one that waits for long hears why."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.clients[client.id] = client
        self._witness.fact("open", client=client.id, link=self.link.id, session=self.session_id)
        if self.greeting is None:
            self._parts.loop.call_later(GREETING_S, self._explain_silence, client)
            return
        self._greet(client)
        if not self.link.up:
            self._tell_state(client, self._why_down())

    def detach(self, client: LocalClient, code: int, *, by: str) -> None:
        """A client is gone; what it sent before is still sent."""
        if self.clients.pop(client.id, None) is None:
            return
        self._witness.fact(
            "close",
            client=client.id,
            link=self.link.id,
            session=self.session_id,
            code=code,
            by=by,
        )
        self._linger_if_alone()

    def _explain_silence(self, client: LocalClient) -> None:
        """The upstream is still not there: say so once; the client may stay and wait."""
        if client.greeted or client.id not in self.clients:
            return
        self._refuse(client, None, 503, "upstream_unavailable", self._why_down())

    def _why_down(self) -> str:
        fault = self.link.fault
        return fault.message if fault is not None else "the upstream has not answered yet"

    def _linger_if_alone(self) -> None:
        if not self.clients and self._linger is None:
            linger_s = self._parts.settings.linger_s
            self._linger = self._parts.loop.call_later(linger_s, self._on_ended, self)

    def _greet(self, client: LocalClient) -> None:
        if self.greeting is None or client.close_sent is not None:
            return
        client.greeted = True
        payload: dict[str, object] = {
            "session_id": self.session_id,
            "user_id": self.greeting.user_id,
            "capabilities": list(self.greeting.capabilities),
        }
        self._tell(client, notice("connection_established", payload, session_id=self.session_id))

    # -- to upstream -----------------------------------------------------------------------

    def from_client(self, client: LocalClient, data: bytes, *, binary: bool) -> None:
        """Send on what a client sent, exactly as it came, or refuse it by id."""
        numbers = self._numbers
        numbers.messages_to_upstream += 1
        numbers.bytes_to_upstream += len(data)
        if not binary and not is_utf8(data):
            self._numbers.refusals["not_utf8"] += 1
            client.close(CloseCode.INVALID_TEXT, "text that is not UTF-8")
            return
        head = None if binary else peek(data)
        self._witness.message(
            "to_upstream",
            data,
            head,
            link=self.link.id,
            session=self.session_id,
            client=client.id,
            binary=binary,
        )
        if head is None or head.id is None or head.type is None:
            numbers.malformed_to_upstream += 1
        message_id = head.id if head is not None else None
        if not self._acceptable(client, data, head, binary=binary):
            return
        asks = head is not None and head.type in ASKS
        waiting = Waiting(client.id, message_id, data, binary, self._parts.loop.time(), asks)
        overflow = self.link.submit(waiting)
        if overflow is not None:
            self._refuse(client, message_id, overflow.code, overflow.error, overflow.message)
        elif self._parts.settings.echo:
            self._echo(client, data, binary=binary)

    def _acceptable(
        self, client: LocalClient, data: bytes, head: Head | None, *, binary: bool
    ) -> bool:
        message_id = head.id if head is not None else None
        limit = self._parts.limits.max_message_bytes
        if limit and len(data) > limit:
            text = f"the message has {len(data)} bytes; at most {limit} may be sent"
            self._refuse(client, message_id, 413, "message_too_large", text)
            return False
        mode = self._parts.settings.validation
        if mode == "off" or (mode == "warn" and binary):
            return True
        kind = head.type if head is not None else None
        problem = check(data, max_bytes=0, kind=kind) if not binary else _NOT_TEXT
        if problem is None:
            return True
        self._numbers.invalid_to_upstream += 1
        client.log.debug("message.invalid", id=message_id, problem=str(problem))
        if mode == "warn":
            return True
        self._refuse(client, message_id, problem.code, "invalid_message", str(problem))
        return False

    def _refuse(
        self, client: LocalClient, message_id: str | None, code: int, error: str, message: str
    ) -> None:
        self._numbers.refusals[error] += 1
        payload: dict[str, object] = {"error": error, "message": message, "code": code}
        self._tell(
            client,
            notice("connection_error", payload, session_id=self.session_id, reply_to=message_id),
        )

    def _echo(self, sender: LocalClient, data: bytes, *, binary: bool) -> None:
        frame = server_frame(data, BINARY if binary else TEXT)
        for client in self.clients.values():
            if client is not sender:
                client.outbox.offer(frame)

    def message_written(self, waiting: Waiting) -> None:
        """The link has written a message: its answer is awaited from now on."""
        if waiting.awaits_answer and waiting.message_id is not None:
            self.pending.sent(waiting.message_id, waiting.client, self._parts.loop.time())

    def message_expired(self, waiting: Waiting) -> None:
        """A message waited for the upstream in vain: its sender hears it by id."""
        client = self.clients.get(waiting.client)
        self._witness.fact(
            "drop",
            client=waiting.client,
            link=self.link.id,
            session=self.session_id,
            note=f"the upstream stayed away; message {waiting.message_id or 'without id'}",
        )
        if client is None:
            return
        text = f"not delivered: {self._why_down()}"
        self._refuse(client, waiting.message_id, 503, "upstream_unavailable", text)

    # -- to clients --------------------------------------------------------------------------

    def link_message(self, data: bytes, *, binary: bool) -> None:
        """Hand what came from upstream to every client, exactly as it came."""
        numbers = self._numbers
        numbers.messages_to_client += 1
        numbers.bytes_to_client += len(data)
        if not binary and not is_utf8(data):
            # Passed on, it would make every client hang up (RFC 6455, 8.1).
            numbers.malformed_to_client += 1
            note = f"{len(data)} bytes of text that is not UTF-8"
            self._witness.fact("drop", link=self.link.id, session=self.session_id, note=note)
            return
        head = None if binary else peek(data)
        self._witness.message(
            "to_client", data, head, link=self.link.id, session=self.session_id, binary=binary
        )
        if head is None or head.id is None or head.type is None:
            numbers.malformed_to_client += 1
        elif len(self.pending):
            self._note_answer(head, data)
        frame = server_frame(data, BINARY if binary else TEXT)
        numbers.deliveries += len(self.clients)
        for client in self.clients.values():
            client.outbox.offer(frame)

    def _note_answer(self, head: Head, data: bytes) -> None:
        progress = self.pending.answered(head, data, self._parts.loop.time())
        if progress is None:
            return
        if progress.first_chunk_s is not None:
            self._numbers.first_chunk_s.observe(progress.first_chunk_s)
        if progress.reply_s is not None:
            self._numbers.reply_s.observe(progress.reply_s)

    def _tell(self, client: LocalClient, text: bytes) -> None:
        self._witness.message(
            "to_client",
            text,
            peek(text),
            link=self.link.id,
            session=self.session_id,
            client=client.id,
            kind="inject",
        )
        client.send(text)

    # -- the link's life ---------------------------------------------------------------------

    def link_up(self, greeting: Greeting, verdict: Verdict) -> None:
        """Greet who waits; tell the others what became of the session."""
        self.first_outcome.set()
        self.greeting = greeting
        self._name()
        self._witness.fact("open", link=self.link.id, session=self.session_id, note=verdict.value)
        self._witness.message(
            "to_client",
            greeting.text.encode(),
            peek(greeting.text),
            link=self.link.id,
            session=self.session_id,
        )
        for client in list(self.clients.values()):
            if client.greeted:
                self._tell_back(client, verdict)
            else:
                self._greet(client)
        self._settle_pending(verdict)

    def _name(self) -> None:
        if self.session_id is not None and self.session_id not in self.names:
            self.names.add(self.session_id)
            self._on_named(self, self.session_id)

    def _tell_back(self, client: LocalClient, verdict: Verdict) -> None:
        payload: dict[str, object] = {
            "status": "connected",
            "message": f"the upstream is back ({verdict.value})",
        }
        self._tell(client, notice("status_update", payload, session_id=self.session_id))
        if verdict is Verdict.NEW_SESSION:
            self._greet(client)

    def _settle_pending(self, verdict: Verdict) -> None:
        if not len(self.pending):
            return
        if verdict is Verdict.RESUMED:
            self._grace = self._parts.loop.call_later(
                RESUMED_GRACE_S, self._tell_unknown_of, self.pending.ids()
            )
        else:
            self._tell_unknown(self.pending.take_all())

    def _tell_unknown_of(self, message_ids: list[str]) -> None:
        self._tell_unknown(self.pending.take(message_ids))

    def _tell_unknown(self, requests: list[Request]) -> None:
        for request in requests:
            self._numbers.delivery_unknown += 1
            client = self.clients.get(request.client)
            if client is not None:
                text = "sent, but the link fell before an answer came; it may have arrived"
                self._refuse(client, request.message_id, 503, "delivery_unknown", text)

    def link_lost(self, code: int, reason: str) -> None:
        """Clients stay; they hear that the upstream is away."""
        self._witness.fact(
            "close",
            link=self.link.id,
            session=self.session_id,
            code=code,
            reason=reason,
            by="upstream",
        )
        for client in self.clients.values():
            self._tell_state(client, f"{reason} ({code})")

    def _tell_state(self, client: LocalClient, why: str) -> None:
        payload: dict[str, object] = {
            "status": "reconnecting",
            "message": f"the upstream is away: {why}; messages wait and are sent when it is back",
        }
        self._tell(client, notice("status_update", payload, session_id=self.session_id))

    def link_refused(self, error: MegabotError) -> None:
        """The upstream refuses our credential: clients cannot be served."""
        self.first_outcome.set()
        for client in list(self.clients.values()):
            self._refuse(client, None, 401, "authentication_failed", error.message)
            client.close(CloseCode.CREDENTIAL_REFUSED, "the relay's credential was refused")

    def link_failed(self) -> None:
        """A dial failed for another reason; the link tries again."""
        self.first_outcome.set()


def is_utf8(data: bytes) -> bool:
    """Whether bytes are what a text message may hold; for plain ASCII one glance tells."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


_NOT_TEXT = Problem("$", "text", "binary", "messages are text")
