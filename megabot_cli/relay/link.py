"""One link: dial, greet, read, write, and dial again for as long as it is wanted."""

from __future__ import annotations

import asyncio
import math
import random
import time

import aiohttp
import structlog

from megabot_cli.client.dial import Greeting, hang_up
from megabot_cli.client.ids import new_id
from megabot_cli.client.wire import CAN_HEAR, HeardUpstream, client_frames, upstream_transport
from megabot_cli.errors import CouldNotConnect, MegabotError, NotAuthenticated
from megabot_cli.protocol.backoff import FullJitter
from megabot_cli.protocol.batching import ENVELOPE_BYTES
from megabot_cli.protocol.close_codes import MEANING, CloseCode
from megabot_cli.protocol.frames import BINARY, TEXT, client_ping
from megabot_cli.protocol.greeting import greeted
from megabot_cli.relay.dialling import dial_upstream
from megabot_cli.relay.link_life import LinkLife, LinkState, Verdict
from megabot_cli.relay.link_listener import LinkListener
from megabot_cli.relay.outbox import HIGH_WATER_BYTES, RETRY_S
from megabot_cli.relay.own_batches import OwnBatches
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.reading import read_all
from megabot_cli.relay.send_pace import SendPace
from megabot_cli.relay.transports import unseen
from megabot_cli.relay.upstream_queue import Leaving, Overflow, Waiting

log = structlog.get_logger("relay")

EXPIRY_CHECK_S = 0.25

# An upstream that let us in before may be wrong about a credential for a moment.
MOST_REFUSALS = 3

_LETS_GO = "the relay lets go"
BATCH = 10  # messages, as the specification's own client wraps them


class Link:
    """One live, authenticated connection to the upstream, renewed whenever it falls."""

    def __init__(
        self,
        parts: RelayParts,
        listener: LinkListener,
        *,
        asked_session: str | None,
        user_id: str | None,
        platform: str | None,
    ) -> None:
        self.id = new_id("link")
        self.life = LinkLife(FullJitter(0.5, 30.0), asked_session)
        self.fault: MegabotError | None = None
        self._last_words = "the upstream has not answered yet"  # of the connection before
        self.over: str | None = None  # why it will never be up again
        self.watched = False  # who opened it waits for its first dial, and tells how that went
        self.queue = parts.engine.open_queue(parts.limits, parts.settings)
        self._parts = parts
        self._listener = listener
        self._user_id = user_id
        self._platform = platform or parts.profile.platform
        limits = parts.limits
        self.batches = OwnBatches()
        self._batching = parts.makes_batches
        self._pace = SendPace(limits.messages_per_second, limits.burst, parts.loop.time())
        # Whether one more may leave at a time of the event loop's; None: as many as there are.
        self.may_leave = self._pace.take if limits.messages_per_second > 0 else None
        self._transport: asyncio.WriteTransport | None = None
        self._fell_at = math.inf  # monotonic seconds; never, where it is not dialled for that
        self._up_since = 0.0  # of the event loop's clock, while it is up
        self._keeps_masks = False
        self._leaving: list[Leaving] = []  # in this turn of the event loop
        self._framed: list[tuple[int, int, bytes]] = []  # from, to: these of them have a frame
        self._pump_timer: asyncio.TimerHandle | None = None
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._try_again = asyncio.Event()
        self._log = log.bind(link=self.id, **parts.whose)

    @property
    def up(self) -> bool:
        return self._transport is not None

    @property
    def why_down(self) -> str:
        """What keeps it from being up, for clients."""
        if (left_alone_s := self.left_alone_s) > 0:
            return f"the upstream asks to be left alone for another {left_alone_s:.0f} s"
        fault = self.fault
        if fault is None and not self.life.ever_up:
            # It waits for its turn to dial; whom another one could not reach it would not either.
            other = self._parts.fault_of_any()
            fault = other if isinstance(other, CouldNotConnect) else None
        return fault.message if fault is not None else self._last_words

    @property
    def left_alone_s(self) -> float:
        """How much longer it does not dial, for the upstream has asked for that."""
        if self.up:
            return 0.0
        return self._parts.engine.left_alone_s(self._parts.identity, self._parts.loop.time())

    @property
    def up_s(self) -> float:
        """How long the connection that there is has been up."""
        return self._parts.loop.time() - self._up_since if self.up else 0.0

    # -- living ------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        try:
            await self._turn_to_dial(first=True)
            while True:
                await self._live_once()
        finally:
            self._transport = None
            for timer in (self._pump_timer, self._expiry_timer):
                if timer is not None:
                    timer.cancel()
            self.life.move(LinkState.DRAINING)

    async def _live_once(self) -> None:
        self.life.move(LinkState.AUTHENTICATING)
        if (given_up := self._given_up()) is not None:
            await self._wait_for_credential(given_up)
            return
        numbers = self._parts.numbers
        started_at = self._parts.loop.time()
        numbers.dials += 1
        try:
            socket, greeting = await self._connect()
        except NotAuthenticated as refusal:
            numbers.dial_faults[refusal.code] += 1
            if self.life.ever_up and self._parts.tokens.refusals < MOST_REFUSALS:
                self._dial_ended(well=False, fault=refusal)
                await self._back_off(refusal, self.life.refused(random.random()))  # noqa: S311
            else:
                await self._wait_for_credential(refusal)
            return
        except MegabotError as fault:
            numbers.dial_faults[fault.code] += 1
            self._parts.witness.fact("fault", link=self.id, note=fault.message)
            self._dial_ended(well=False, fault=fault)
            self._listener.link_failed()
            await self._back_off(fault)
            return
        numbers.handshake_s.observe(self._parts.loop.time() - started_at)
        self._dial_ended(well=True)
        pulse = None
        try:
            self._came_up(socket, greeting)
            if CAN_HEAR and isinstance(socket, HeardUpstream):
                pulse = self._parts.heartbeat.watch(socket, self._ping, self._fell_silent)
            take, witness = self._listener.link_message, self._parts.witness
            goodbye = await read_all(socket, take, witness, self._log)
            self._last_words = goodbye.told(self._parts.tokens.secrets)
        except asyncio.CancelledError:
            self._tell_closed()
            raise
        finally:
            if pulse is not None:
                self._parts.heartbeat.forget(pulse)
            numbers.link_up_s += self.up_s
            self._transport = None
            await hang_up(socket, CloseCode.SERVICE_RESTART, _LETS_GO)
        self._fell_at = time.monotonic()
        code = goodbye.code
        self._listener.link_lost(goodbye)
        self._log.warning(
            "link.lost", code=code, meaning=MEANING.get(code), reason=goodbye.reason or None
        )
        numbers.link_losses[code] += 1
        await self._back_off(None)

    def _tell_closed(self) -> None:
        """The relay itself ends the link, which nobody else will say."""
        self._parts.witness.fact(
            "close",
            link=self.id,
            session=self.life.session_id,
            code=CloseCode.SERVICE_RESTART,
            reason=_LETS_GO,
            by="relay",
        )

    def _dial_ended(self, *, well: bool, fault: MegabotError | None = None) -> None:
        parts, after_s = self._parts, fault.retry_after_s if fault is not None else None
        parts.engine.dial_ended(parts.identity, parts.loop.time(), well=well, retry_after_s=after_s)

    async def _connect(self) -> tuple[aiohttp.ClientWebSocketResponse[bool], Greeting]:
        """Authenticate and dial."""
        await self._parts.tokens.current()
        dialed = await dial_upstream(
            self._parts,
            session_id=self.life.dial(),
            user_id=self._user_id,
            platform=self._platform,
            needs_name=not self.life.ever_up,  # what comes back without one is of unknown worth
        )
        assert dialed.greeting is not None
        return dialed.socket, dialed.greeting

    def _came_up(self, socket: aiohttp.ClientWebSocketResponse[bool], greeting: Greeting) -> None:
        first = not self.life.ever_up
        verdict = self.life.came_up(greeting.session_id or None)
        self.fault = None
        self._parts.tokens.accepted()
        self._transport = upstream_transport(socket)
        self._keeps_masks = self._transport is not None and unseen(self._transport)
        self._up_since = self._parts.loop.time()
        self._parts.numbers.resumes[verdict] += 1
        if first:
            self._log.info("link.up", session=self.life.session_id, verdict=verdict.value)
        else:
            self._parts.numbers.reconnects += 1
            self._log.info("link.came_back", session=self.life.session_id, verdict=verdict.value)
        self._listener.link_up(greeting, verdict)
        self._pump()

    def goes_on_in(self, greeting: bytes) -> str | None:
        """The other session that the upstream greets us in meanwhile; None: it is the same one."""
        name = greeted(greeting).session_id
        if not name or name == self.life.session_id:
            return None
        self.life.renamed(name)
        self._parts.numbers.resumes[Verdict.NEW_SESSION] += 1
        return name

    async def _back_off(self, fault: MegabotError | None, delay_s: float | None = None) -> None:
        self.fault = fault
        if delay_s is None:
            delay_s = self.life.lost(random.random(), fault.retry_after_s if fault else None)  # noqa: S311
        if fault is not None:
            pace_s = self._parts.engine.next_turn_s(self._parts.identity, self._parts.loop.time())
            wait_s, tries = round(max(delay_s, pace_s), 2), self.life.attempts
            self._log.warning(
                "link.dial_failed", fault=fault.message, attempt=tries, retry_in_s=wait_s
            )
        self._watch_expiry()
        await asyncio.sleep(delay_s)
        await self._turn_to_dial()

    async def _turn_to_dial(self, *, first: bool = False) -> None:
        """Other links of the identity want in too; together they keep one pace."""
        engine, identity, time_s = self._parts.engine, self._parts.identity, self._parts.loop.time
        while (wait_s := engine.dial_wait_s(identity, time_s(), first=first)) > 0:
            await asyncio.sleep(wait_s)
            if self._given_up() is not None:
                return

    def _given_up(self) -> NotAuthenticated | None:
        """Why the credential is of no use: others that fell too have asked often enough."""
        return self._parts.tokens.refused_since(self._fell_at, MOST_REFUSALS)

    async def _wait_for_credential(self, refusal: NotAuthenticated) -> None:
        """The credential is of no use: say so, and try again only when told to."""
        self.fault = refusal
        self.life.move(LinkState.FAILED)
        if not self.watched or self.life.attempts:
            self.tell_refusal()
        self.watched = False
        self._listener.link_refused(refusal)
        self._try_again.clear()
        await self._try_again.wait()
        self._fell_at = math.inf
        await self._turn_to_dial()

    def tell_refusal(self) -> None:
        """Log why nobody can be served."""
        if (fault := self.fault) is not None:
            self._log.error("link.refused", fault=fault.message, hint=self._parts.hint_of(fault))

    def take_over(self) -> None:
        """What the settings say now holds for what leaves and waits from now on."""
        limits, settings = self._parts.limits, self._parts.settings
        self.queue.resize(limits, settings)
        self._batching = self._parts.makes_batches
        self._pace.allow(limits.messages_per_second, limits.burst, self._parts.loop.time())
        self.may_leave = self._pace.take if limits.messages_per_second > 0 else None
        self._pump()

    def try_again(self) -> None:
        """A credential may be there now: leave the failed state."""
        self._try_again.set()

    def _ping(self) -> None:
        if self._transport is not None:
            self._transport.write(client_ping(self._parts.masks.take()))

    def _fell_silent(self) -> None:
        self._log.warning("link.silent")
        self.drop()

    def slow_down(self) -> None:
        """The upstream says that too much came: send more slowly for a while."""
        self._parts.numbers.upstream_rate_limits += 1
        if self._pace.slow_down(self._parts.loop.time()):
            self._log.warning("link.slowed", messages_per_second=round(self._pace.rate, 2))

    def drop(self) -> None:
        """Break the connection; it is dialled again."""
        if self._transport is not None:
            self._transport.abort()

    # -- writing -----------------------------------------------------------------------

    def open_way(self) -> list[Leaving] | None:
        """Where messages are put that are written with this turn's, oldest first, each after
        `may_leave` has let it; None if something stands in their way.

        Good until the caller returns to the event loop.
        """
        transport, leaving = self._transport, self._leaving
        # Once something leaves in this turn, the rest of the turn does not change it.
        if leaving and transport is not None and not self.queue.count:
            return leaving
        if self.queue.count or not self._may_write():
            return None
        self._parts.turn.after(self._flush)
        return leaving

    def are_framed(self, count: int, whole: bytes) -> None:
        """The `count` messages just put on the way came in these frames, and leave as they came."""
        if self._keeps_masks:
            upto = len(self._leaving)
            self._framed.append((upto - count, upto, whole))

    def charge(self, waiting: Waiting) -> None:
        """What `may_leave` let leave may be a batch: each message in it counts."""
        if self.may_leave is not None:
            self._pace.charge(waiting.counts_as() - 1)

    def write_now(self, waiting: Waiting) -> bool:
        """Write a client's message with this turn's, if nothing stands in its way."""
        way = self.open_way()
        if way is None or (self.may_leave is not None and not self.may_leave(waiting.at)):
            return False
        self.charge(waiting)
        way.append(waiting.leaving())
        return True

    def submit(self, waiting: Waiting) -> Overflow | None:
        """Let a client's message wait its turn; says why when it may not.

        `message_written` or `message_expired` follows."""
        if self.over is not None:
            return Overflow(503, "upstream_unavailable", self.over)
        overflow = self.queue.offer(waiting, link_up=self.up)
        if overflow is None:
            if self._transport is None:
                self._watch_expiry()
            else:
                self._parts.numbers.rate_limit_waits += 1
                self._pump()
        return overflow

    def _may_write(self) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        return transport.get_write_buffer_size() <= HIGH_WATER_BYTES

    def _write(self, waiting: Waiting) -> None:
        if not self._leaving:
            self._parts.turn.after(self._flush)
        self._leaving.append(waiting.leaving())
        for each in waiting.inner or (waiting,):
            self._listener.message_written(each)

    def _flush(self) -> None:
        """Write this turn's messages in one go; if the link fell meanwhile, they wait again."""
        leaving, self._leaving = self._leaving, []
        framed, self._framed = self._framed, []
        if not leaving:
            return
        transport = self._transport
        if transport is None or transport.is_closing():
            self._wait_again([Waiting(*each) for each in leaving])
            return
        masks, pieces, at = self._parts.masks, [], 0
        for first, upto, whole in framed:
            if first > at:
                pieces.append(client_frames(_unframed(leaving[at:first]), masks))
            pieces.append(whole)
            at = upto
        if at < len(leaving):
            pieces.append(client_frames(_unframed(leaving[at:]), masks))
        transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        _, _, _, _, at_s, *_ = leaving[0]
        self._parts.numbers.forward_s.observe(self._parts.loop.time() - at_s)

    def _wait_again(self, leaving: list[Waiting]) -> None:
        self.queue.put_back(leaving)
        for waiting in leaving:
            for each in waiting.inner or (waiting,):
                self._listener.message_unwritten(each)
        self._watch_expiry()

    def _pump(self) -> None:
        """Write what waits, as far as the rate limit and the socket allow."""
        if self._pump_timer is not None:
            self._pump_timer.cancel()
            self._pump_timer = None
        now = self._parts.loop.time()
        while self._transport is not None and len(self.queue):
            if not self._may_write():
                self._pump_timer = self._parts.loop.call_later(RETRY_S, self._pump)
                return
            if not self._pace.take(now):
                wait_s = self._pace.wait_s(now)
                self._pump_timer = self._parts.loop.call_later(wait_s, self._pump)
                return
            waiting = self._take_batch() if self._batching else self.queue.take()
            if waiting is not None:
                self.charge(waiting)
                self._write(waiting)

    def _take_batch(self) -> Waiting | None:
        """What waits for the rate limit, up to ten in one message."""
        limits = self._parts.limits
        most_bytes = limits.max_message_bytes and max(1, limits.max_message_bytes - ENVELOPE_BYTES)
        together = self.queue.take_together(BATCH, most_bytes)
        if len(together) <= 1:
            return together[0] if together else None
        self._parts.numbers.batches += 1
        return self.batches.make(together)

    def _watch_expiry(self) -> None:
        if self._expiry_timer is None and len(self.queue):
            self._expiry_timer = self._parts.loop.call_later(EXPIRY_CHECK_S, self._expire)

    def _expire(self) -> None:
        self._expiry_timer = None
        if self.up:
            return
        for waiting in self.queue.expire(self._parts.loop.time()):
            self._listener.message_expired(waiting)
        self._watch_expiry()


def _unframed(leaving: list[Leaving]) -> list[tuple[bytes, int]]:
    return [(data, BINARY if binary else TEXT) for _, _, data, binary, *_ in leaving]
