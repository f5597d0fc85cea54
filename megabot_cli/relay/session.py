"""One session: its link, the clients on it, and who hears what."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import msgspec

from megabot_cli.client.dial import Greeting
from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.client.wire import Sink
from megabot_cli.errors import MegabotError
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import peek
from megabot_cli.relay.absentees import Absentees, is_goodbye
from megabot_cli.relay.checks import delivery_unknown
from megabot_cli.relay.downward import Downward
from megabot_cli.relay.echoing import Echo, is_still_binary
from megabot_cli.relay.executions import Executions
from megabot_cli.relay.flat_routing import FlatRouting
from megabot_cli.relay.kept_results import KeptResults
from megabot_cli.relay.link import Link
from megabot_cli.relay.link_life import Verdict
from megabot_cli.relay.local_client import LocalClient
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.reading import Goodbye
from megabot_cli.relay.roster import Roster
from megabot_cli.relay.routing import Request, Routing
from megabot_cli.relay.tool_results import ToolResults
from megabot_cli.relay.untold import Untold, UntoldErrors
from megabot_cli.relay.upstream_queue import Waiting
from megabot_cli.relay.upward import Upward
from megabot_cli.relay.voice import Voice

# After a resume the upstream may go on with what it was asked; longer silence is a loss. What
# is still on its way to us holds that back, for a while.
RESUMED_GRACE_S = 5.0
LONGEST_GRACE_S = 30.0
GRACE_CHECK_S = 0.5

AT_WORK_CHECK_S = 0.5

# Clients commonly give up on a greeting after 10 s: before that they hear what is wrong.
GREETING_S = 4.0


class Session:
    """The clients of one `session_id` and the one link they share.

    `shared`: the link belongs to all clients of the identity; an answer goes to the one
    that asked, everything else to all.
    """

    def __init__(
        self,
        parts: RelayParts,
        *,
        asked_id: str | None,
        user_id: str | None,
        platform: str | None,
        on_named: Callable[[Session, str], None],
        on_ended: Callable[[Session], None],
        on_left: Callable[[], None],
        shared: bool = False,
    ) -> None:
        self.roster = Roster(parts.turn)
        self.greeting: Greeting | None = None
        self.user_id = user_id
        self.names: set[str] = {asked_id} if asked_id else set()
        is_flat = parts.profile.dialect == "flat"
        self.routing = (FlatRouting if is_flat else Routing)(in_order=not shared)
        self.link = Link(parts, self, asked_session=asked_id, user_id=user_id, platform=platform)
        self.ring = parts.engine.open_ring(new_id("epoch"), parts.settings)
        self._parts = parts
        self._numbers = parts.numbers
        self._witness = parts.witness
        self._voice = Voice(parts, self.link)
        self._executions = Executions()
        self._kept_results = KeptResults()
        self._results = ToolResults(parts, self.link, self._executions, self._kept_results)
        self._untold = UntoldErrors(parts.settings.max_clients, named=not is_flat)
        self._upward = Upward(
            parts,
            self.link,
            self._voice,
            self.routing,
            self._executions,
            self._kept_results,
            one_at_a_time=shared,
            find=self.roster.by_name.get,
            untold=self._untold,
        )
        self._downward = Downward(
            parts,
            self.link,
            self.roster,
            self.ring,
            self.routing,
            self._executions,
            self._results,
            self._upward,
            to_askers_only=shared,
            greeted_anew=self._greeted_anew,
        )
        self._echo = Echo(parts, self.roster)
        self._on_named = on_named
        self._on_ended = on_ended
        self._on_left = on_left
        self.left_at: float | None = None  # of the event loop's clock: its last client went
        self._tasks = TaskSet()
        self._linger: asyncio.TimerHandle | None = None
        self._stopped = False
        self._grace: asyncio.TimerHandle | None = None
        self._unsure: dict[str, float] = {}  # requests of before a loss → in doubt since when
        self._lost_at = 0.0
        self.absentees = Absentees(parts, self.ring, self.roster, shared=shared)
        self.first_outcome = asyncio.Event()  # set once the first dial has ended either way

    @property
    def clients(self) -> dict[str, LocalClient]:
        return self.roster.clients

    @property
    def session_id(self) -> str | None:
        return self.link.life.session_id

    @property
    def waiting(self) -> int:
        """Messages of clients that have not gone up yet."""
        return len(self.link.queue) + len(self._upward)

    @property
    def waiting_bytes(self) -> int:
        return self.link.queue.bytes + self._upward.held_bytes

    @property
    def tool_calls(self) -> int:
        """Calls that wait for a client's result."""
        return len(self._executions)

    @property
    def idle(self) -> bool:
        """Nothing waits to go up, no request for its answer, no tool call for a client's result."""
        calls = self.tool_calls if self.clients else 0  # where nobody is, nobody is at work
        return not self.waiting and not len(self.routing) and not calls

    def take_over(self) -> None:
        """The settings have changed: what they say of a session holds from now on."""
        self.ring.resize(self._parts.settings)
        self.link.take_over()
        self._upward.take_over()

    def start(self) -> None:
        self._tasks.start(self.link.run(), f"link {self.link.id}")

    def _first_dial_ended(self) -> None:
        """Either way. Until then somebody waits for it, also where no client is there."""
        self.first_outcome.set()
        self._linger_if_alone()

    async def stop(self) -> None:
        """Close the link without ending the session upstream."""
        self._stopped = True
        self._upward.stop()
        for timer in (self._linger, self._grace):
            if timer is not None:
                timer.cancel()
        await self._tasks.stop()

    # -- clients come and go -------------------------------------------------------------

    def attach(self, client: LocalClient) -> None:
        """Take a client in. It is greeted at once where the session is known, else when the
        link is up; one that waits for long hears why.

        Greeting, what it missed, and all that follows leave in one straight call: there is
        no gap between them and nothing comes twice.
        """
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.left_at = None
        self.absentees.comes(client)
        self._replace(client)
        self.roster.add(client)
        client.session_cursor = self.ring.cursor
        self._witness.fact("open", client=client.id, link=self.link.id, session=self.session_id)
        if self.greeting is None:
            # That nobody dials is certain already.
            delay_s = 0.0 if self.link.left_alone_s > 0 else GREETING_S
            self._parts.loop.call_later(delay_s, self._explain_silence, client)
            return
        self._greet(client)
        if not self.link.up:
            self._voice.upstream_away(client, self.link.why_down)

    def _replace(self, client: LocalClient) -> None:
        """A client that comes back under its name takes the place of its old connection."""
        old = self.roster.by_name.get(client.name)
        if old is not None:
            old.close(CloseCode.REPLACED, f"{client.name} is connected anew")
            self._leaves(old, sure=False)

    def _leaves(self, client: LocalClient, *, sure: bool) -> None:
        if self.absentees.goes(client, sure=sure):
            self._untold.expect(client.name)
            self._untold.keep_notices(client.name, client.unheard())

    def detach(self, client: LocalClient, goodbye: Goodbye, *, by: str) -> None:
        """A client is gone; what it sent before is still sent."""
        if client.id not in self.clients:
            return
        if self.roster.remove(client):
            self._leaves(client, sure=by == "client" and is_goodbye(goodbye.code))
            self._results.give_up(client)
        self._tell_closed(goodbye, by, client.id)
        self._linger_if_alone()
        if not self.clients:
            self.left_at = self._parts.loop.time()
            self._on_left()

    def _explain_silence(self, client: LocalClient) -> None:
        """The upstream is still not there: say so once; the client may stay and wait."""
        if client.greeted or client.id not in self.clients:
            return
        self._voice.warn(client, 503, "upstream_unavailable", self.link.why_down)

    def _linger_if_alone(self) -> None:
        if not self.clients and self._linger is None and not self._stopped:
            linger_s = self._parts.settings.linger_s
            self._linger = self._parts.loop.call_later(linger_s, self._end_unless_at_work)

    def _end_unless_at_work(self) -> None:
        """What clients had sent before they left goes up first, or has waited in vain."""
        if self.waiting:
            self._linger = self._parts.loop.call_later(AT_WORK_CHECK_S, self._end_unless_at_work)
        else:
            self._on_ended(self)

    def _greet(self, client: LocalClient) -> None:
        if self.greeting is None or client.close_sent is not None:
            return
        first, client.greeted = not client.greeted, True
        recovery = self.absentees.recover(client) if first else None
        # The cursor says what the client has had, before what it missed.
        had = self.ring.top
        if recovery is not None and recovery.messages:
            had = recovery.messages[0].seq - 1
        if not client.outbox.behind:  # what it has still to read of another epoch it may miss
            client.outbox.sent_seq = client.greeted_seq = had
        self._voice.greet(client, self.greeting, self.ring.cursor(had), recovery)
        if recovery is not None:
            verdict = recovery.reason or "recovered"
            self._numbers.recoveries[verdict] += 1
            for kept in recovery.messages:
                frame = self._downward.frame_for(client, kept)
                if frame is not None:
                    client.outbox.offer(frame, kept.seq)
        for untold in self._untold.take(client.name):
            self._voice.refuse(client, *msgspec.structs.astuple(untold))

    # -- to upstream -----------------------------------------------------------------------

    def sink(self, client: LocalClient) -> Sink:
        """Takes what this client sends: it goes on exactly as it came, or is refused by id."""
        take = self._take_and_echo if self._parts.settings.echo else self._upward.take
        return functools.partial(take, client)

    def _take_and_echo(
        self, client: LocalClient, batch: list[bytes], binary: bool, whole: bytes | None = None
    ) -> None:
        for sent in self._upward.take(client, batch, binary, whole):
            self._echo.show(client, sent, binary=binary and is_still_binary(sent, batch))

    def message_written(self, waiting: Waiting) -> None:
        self._upward.written(waiting)

    def message_unwritten(self, waiting: Waiting) -> None:
        self._upward.unwritten(waiting)

    def message_expired(self, waiting: Waiting) -> None:
        self._upward.expired(waiting, self.link.why_down)

    @property
    def link_message(self) -> Sink:
        """Takes what came from upstream."""
        return self._downward.take

    # -- the link's life ---------------------------------------------------------------------

    def link_up(self, greeting: Greeting, verdict: Verdict) -> None:
        """Greet who waits; tell the others what became of the session."""
        self._first_dial_ended()
        self.greeting = greeting
        if verdict is Verdict.NEW_SESSION:
            self.ring.begin_epoch(new_id("epoch"))
        elif verdict is not Verdict.FRESH:
            self._downward.link_resumed()
        self._name()
        note = ", ".join(filter(None, (verdict.value, self._parts.label)))
        user = greeting.user_id
        self._witness.meet(self.link.id, user)
        self._witness.fact("open", link=self.link.id, session=self.session_id, user=user, note=note)
        self._witness.message(
            "to_client",
            greeting.text.encode(),
            peek(greeting.text),
            link=self.link.id,
            session=self.session_id,
        )
        for client in list(self.clients.values()):
            if client.greeted:
                self._voice.status(client, "connected", f"the upstream is back ({verdict.value})")
                if verdict is Verdict.NEW_SESSION:
                    self._greet(client)
            else:
                self._greet(client)
        self._settle_pending(verdict)
        self._upward.release()

    def _greeted_anew(self, text: bytes) -> bool:
        """The upstream greets again. In another session clients go on as after a new link."""
        if self.greeting is None or not (name := self.link.goes_on_in(text)):
            return False
        self.greeting = msgspec.structs.replace(self.greeting, session_id=name, text=text.decode())
        self.ring.begin_epoch(new_id("epoch"))
        self._name()
        for client in list(self.clients.values()):
            self._greet(client)
        return True

    def _name(self) -> None:
        if self.session_id is not None and self.session_id not in self.names:
            self.names.add(self.session_id)
            self._on_named(self, self.session_id)

    def _settle_pending(self, verdict: Verdict) -> None:
        if not len(self.routing):
            return
        if verdict is not Verdict.RESUMED:
            self._tell_unknown(self.routing.take_all())
            return
        # What was doubted since the line was lost gets its answer from now on, if at all; what
        # was doubted before that does not wait for ever on a line that comes and goes.
        for message_id, since in list(self._unsure.items()):
            if since >= self._lost_at:
                del self._unsure[message_id]
        self._doubt_pending()

    def _doubt_pending(self) -> None:
        """What is written and not answered has so much time from here on."""
        now = self._parts.loop.time()
        for message_id in self.routing.ids():
            self._unsure.setdefault(message_id, now)
        self._watch_unsure()

    def _watch_unsure(self) -> None:
        if self._grace is None and self._unsure:
            self._grace = self._parts.loop.call_later(GRACE_CHECK_S, self._settle_unsure)

    def _settle_unsure(self) -> None:
        """Give up what a resumed upstream does not go on with, or one that stays away; what it
        answered is settled."""
        self._grace = None
        now = self._parts.loop.time()
        self._unsure = self.routing.still_open(self._unsure)
        quiet = self.link.up and now - self._downward.heard_at >= RESUMED_GRACE_S
        grace_s = RESUMED_GRACE_S if quiet else LONGEST_GRACE_S
        over = [each for each, since in self._unsure.items() if now - since >= grace_s]
        for message_id in over:
            del self._unsure[message_id]
        if over:
            self._tell_unknown(self.routing.take(over))
            self._upward.release()
        self._watch_unsure()

    def _tell_unknown(self, requests: list[Request], why: str = "the link fell") -> None:
        for request in requests:
            self._numbers.delivery_unknown += 1
            client = self.roster.by_name.get(request.client)
            untold = Untold(request.message_id, *msgspec.structs.astuple(delivery_unknown(why)))
            if client is not None:
                self._voice.refuse(client, *msgspec.structs.astuple(untold))
            else:
                self._untold.keep(request.client, untold)

    def give_up_open(self, why: str) -> None:
        """Nothing more will come of what is open: who asked hears it, by id."""
        self._tell_unknown(self.routing.take_all(), why)
        self._give_up_waiting(why)

    def give_up_calls(self) -> None:
        """The upstream hears that no result will come of what clients carry out."""
        self._results.give_up_all(self.clients.values())

    def _give_up_waiting(self, why: str) -> None:
        self._upward.give_up_held(why)
        for waiting in self.link.queue.take_all():
            self._upward.expired(waiting, why)

    def _tell_closed(self, goodbye: Goodbye, by: str, client: str | None = None) -> None:
        self._witness.fact(
            "close",
            client=client,
            link=self.link.id,
            session=self.session_id,
            code=goodbye.code,
            reason=goodbye.reason,
            by=by,
        )

    def link_lost(self, goodbye: Goodbye) -> None:
        """Clients stay; they hear that the upstream is away, or that the session is over."""
        self._kept_results.link_lost()
        self._upward.link_lost()
        self._tell_closed(goodbye, "upstream")
        if goodbye.code == CloseCode.SESSION_ENDED:
            self._end_with_upstream()
            return
        for client in self.clients.values():
            self._voice.upstream_away(client, self.link.why_down)
        self._lost_at = self._parts.loop.time()
        self._doubt_pending()

    def _end_with_upstream(self) -> None:
        """There is nothing to come back to: what is open is told by id, then all may go."""
        self.link.over = "the session ended upstream"
        self.give_up_open(self.link.over)
        for client in list(self.clients.values()):
            client.finish(CloseCode.SESSION_ENDED, self.link.over)
        self._on_ended(self)

    def link_refused(self, error: MegabotError) -> None:
        """The upstream refuses our credential: clients cannot be served. What is open is told
        by id before they go."""
        self._first_dial_ended()
        self._tell_unknown(self.routing.take_all())
        self._give_up_waiting(error.message)
        for client in list(self.clients.values()):
            self._voice.warn(client, 401, "authentication_failed", error.message)
            client.close(CloseCode.CREDENTIAL_REFUSED, "the relay's credential was refused")

    def link_failed(self) -> None:
        """A dial failed for another reason; the link tries again."""
        self._first_dial_ended()
