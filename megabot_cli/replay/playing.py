"""One round of a replay: a socket for each recorded client, each in its own order."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import takewhile
from math import inf
from typing import Final

from megabot_cli.client import wire  # noqa: F401  sockets made from here on can be listened to
from megabot_cli.client.received import Received
from megabot_cli.recording.redaction import Redactor
from megabot_cli.replay.arrivals import Arrivals
from megabot_cli.replay.compare import Comparer
from megabot_cli.replay.conversation import Conversation
from megabot_cli.replay.judging import judge, times
from megabot_cli.replay.lane import Lane, NewClient, Visit
from megabot_cli.replay.lateness import Lateness
from megabot_cli.replay.leaving import Leaving
from megabot_cli.replay.lifetimes import Course
from megabot_cli.replay.marks import Marks
from megabot_cli.replay.naming import Names
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.outcome import Progress, Round
from megabot_cli.replay.recorded_message import RecordedMark, RecordedMessage
from megabot_cli.replay.renewal import Renewal
from megabot_cli.replay.report import ReplayReport
from megabot_cli.replay.script import Script
from megabot_cli.replay.transport import Transport

# Where nothing was recorded in answer, something that comes would come at once.
_FOR_EXTRAS_S: Final = 0.2
# A client is opened so long before it came, that its first message be not late.
_LEAD_S: Final = 1.0
# At the fastest pace so many leave in one write: then what has come is heard. Half of those that
# may be unanswered, so that some are on their way while others are answered.
_AT_ONCE: Final = 50
# So many may be unanswered on one session at that pace, for more would be refused: it is what
# the specification lets wait.
_MOST_UNANSWERED: Final = 100


class Run:
    """One round, under way or over: `connect` it, then let it `go`."""

    def __init__(
        self,
        conversation: Conversation,
        options: ReplayOptions,
        script: Script,
        transport: Transport,
        on_mark: Callable[[RecordedMark], None] | None,
        *,
        with_cases: bool = True,
    ) -> None:
        self._with_cases = with_cases
        self._conversation = conversation
        self._options = options
        self._transport = transport
        self._script = script
        self._marks = Marks(conversation.marks, on_mark)
        self._names = Names(apart=conversation.ids_clash)
        self._renewal = Renewal(
            self._names,
            conversation.answers,
            script.plain,
            keep_ids=options.keep_ids,
            all_alone=conversation.all_alone,
        )
        self._arrivals = Arrivals(conversation.answers, script.plain)
        self._lanes: dict[str, Lane] = {}
        self._messages = script.messages
        self._visits: dict[tuple[str, str], Visit] = {}
        self._clock_runs = asyncio.Event()
        self._offsets = script.offsets
        self._context_sent = 0
        self._sent_at: dict[int, float] = {}
        self._lateness = Lateness()
        self._late_s = 0.0
        self._moved = asyncio.Event()
        transport.on_stop = self._wake
        self._started_at = time.monotonic()
        self._ended_at: float | None = None
        self._cut_short = True  # until it has come to its end

    async def connect(self, new_client: NewClient, cleanup: AsyncExitStack) -> None:
        """Open the clients that are there from the start; the fellows of a lane join the session
        of its first. Where that was recorded, the others come and go when they did."""
        for name, clients in self._conversation.lanes().items():
            unasked_calls = self._conversation.unasked_calls.get(name, ())
            lane = self._lanes[name] = Lane(
                self._arrivals,
                self._names.common,
                unasked_calls,
                self._conversation.referred,
            )
            for client in clients:
                self._visits[name, client] = Visit(lane, client)
        for message in self._messages if self._script.is_timed else ():
            self._visits[message.lane, message.client].places.add(message.place)
        for client, lane_name in self._conversation.silent.items():
            self._visits[lane_name, client].has_spoken.set()
        for message in (*self._conversation.context(), *self._messages):
            if message.session is not None:
                self._lanes[message.lane].recorded_sessions.add(message.session)
        self._open = partial(Lane.open, new_client=new_client, cleanup=cleanup)
        self._settle_lives()
        for visit in self._visits.values():
            if visit.opens_at is None:
                await self._arrive(visit)

    def _settle_lives(self) -> None:
        """Find out when clients come and go. Where no time decides when messages leave, and
        where something is said before all others, a client is there from the start."""
        if self._options.pace in ("fast", "step"):
            return
        firsts: dict[tuple[str, str], float] = {}
        for message in self._messages:
            firsts.setdefault((message.lane, message.client), self._offsets[message.place])
        course = Course([m.t for m in self._messages], list(self._offsets.values()))
        said_before = {(m.lane, m.client) for m in self._conversation.context()}
        lead = _LEAD_S * self._transport.speed
        lives = self._conversation.lives
        for key, visit in self._visits.items():
            if key not in firsts and visit.client not in self._conversation.silent:
                continue  # all it says is context
            first = firsts.get(key, inf)
            opened, closed = lives.opened.get(visit.client), lives.closed.get(visit.client)
            if opened is not None and key not in said_before:
                opens_at = min(course.position(opened), first) - lead
                visit.opens_at = opens_at if opens_at > 0 else None
            if closed is not None:
                visit.closes_at = course.position(closed)

    async def go(self) -> None:
        """Send everything, then wait for what is still to come."""
        async with asyncio.TaskGroup() as tasks:
            visits = [
                tasks.create_task(work(visit), name=f"replay: {what}")
                for visit in self._visits.values()
                for what, work in (
                    ("listen", self._listen), ("come", self._come), ("leave", self._leave)
                )
                if what == "listen" or visit.is_partial
            ]  # fmt: skip
            await self._send_context()
            self._started_at = time.monotonic()
            self._transport.start()
            self._clock_runs.set()
            async with asyncio.TaskGroup() as senders:
                for key, messages in self._script.by_client.items():
                    senders.create_task(
                        self._speak(self._visits[key], messages), name="replay: send"
                    )
            if not self._transport.stopped:
                self._marks.pass_before(None)
            await self._settle()
            for task in visits:
                task.cancel()
        self._ended_at = time.monotonic()
        self._cut_short = self._transport.stopped

    async def hang_up(self) -> None:
        """Let all clients go, together: an upstream that does not say goodbye costs each its
        patience."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes.values():
                for client in lane.clients.values():
                    tasks.create_task(client.close(), name="replay: hang up")

    async def _arrive(self, visit: Visit) -> None:
        await self._open(visit.lane, visit.client)
        visit.opened.set()

    async def _come(self, visit: Visit) -> None:
        """Open a client that comes later, when its time has come."""
        await self._clock_runs.wait()
        if visit.opens_at is None:
            return
        if await self._transport.until(visit.opens_at, is_message=False) is not None:
            await self._arrive(visit)

    async def _leave(self, visit: Visit) -> None:
        """Close a client that had gone, once nothing of it is left to send and to hear."""
        await self._clock_runs.wait()
        if visit.closes_at is None:
            return
        await visit.has_spoken.wait()
        await visit.opened.wait()
        if await self._transport.until(visit.closes_at, is_message=False) is None:
            return
        while not visit.places.isdisjoint(visit.lane.outstanding):
            if self._transport.stopped or not await self._something_comes():
                return
        await visit.lane.close(visit.client)

    async def _speak(self, visit: Visit, messages: list[RecordedMessage]) -> None:
        send = self._send_packs if self._options.pace == "fast" else self._send_all
        await send(visit.lane, messages)
        visit.has_spoken.set()

    async def _send_context(self) -> None:
        """Say again what was said before, and hear what comes to it, as quickly as it does."""
        by_lane: defaultdict[str, list[RecordedMessage]] = defaultdict(list)
        for message in self._conversation.context():
            by_lane[message.lane].append(message)
        async with asyncio.TaskGroup() as senders:
            for lane, messages in by_lane.items():
                senders.create_task(
                    self._send_before(self._lanes[lane], messages), name="replay: context"
                )

    async def _send_before(self, lane: Lane, messages: list[RecordedMessage]) -> None:
        asked: list[RecordedMessage] = []  # and not waited for yet: results of tools are part of it
        for message in messages:
            if message.call is None:
                await self._waited_for(lane, asked)
            if self._transport.stopped:
                return
            await self._called(lane, message)
            await self._send(lane, message)
            self._sent_at.pop(message.place)
            self._context_sent += 1
            asked.append(message)
        await self._waited_for(lane, asked)

    async def _waited_for(self, lane: Lane, asked: list[RecordedMessage]) -> None:
        while asked:
            place = asked.pop(0).place
            await self._answered(lane, place)
            lane.outstanding.discard(place)

    async def _send_all(self, lane: Lane, messages: list[RecordedMessage]) -> None:
        before: RecordedMessage | None = None
        for message in messages:
            due = await self._turn_of(lane, message, before)
            if self._transport.stopped:
                return
            self._marks.pass_before(message.n)
            await self._send(lane, message)
            if due is not None:
                self._late_s = self._lateness.note(due, time.monotonic())
            if message.call is None:
                before = message

    async def _send_packs(self, lane: Lane, messages: list[RecordedMessage]) -> None:
        """Send as quickly as rate limit and upstream take it, many in one write."""
        client = lane.clients[messages[0].client]
        at_once = 1 if client.rate_limited else _AT_ONCE
        has_calls = any(message.call is not None for message in messages)
        at = 0
        given_up: set[int] = set()  # what did not come holds nothing up again
        while at < len(messages) and await self._transport.turn():
            await self._called(lane, messages[at])
            if self._transport.stopped:
                return
            given_up &= lane.outstanding
            room = _MOST_UNANSWERED - len(lane.outstanding) + len(given_up)
            if room <= 0 and not self._transport.paused:
                if not await self._something_comes():
                    given_up = lane.outstanding.copy()
                continue
            pack = messages[at : at + (1 if self._transport.paused else min(at_once, room))]
            if has_calls:
                pack = pack[:1] + list(takewhile(lambda message: message.call is None, pack[1:]))
            self._marks.pass_before(pack[0].n)
            pack = self._marks.none_between(pack)
            at += len(pack)
            leaving = Leaving(self._sent_at, [message.place for message in pack])
            with leaving.or_not():
                await client.send_pack(self._renewal.of_all(lane, pack), leaving)
            await asyncio.sleep(0)  # what has come meanwhile is heard

    async def _turn_of(
        self, lane: Lane, message: RecordedMessage, before: RecordedMessage | None
    ) -> float | None:
        """Wait until the message may leave; return when it was due, where time decides that."""
        if self._options.pace in ("original", "fixed", "step"):
            due = await self._transport.until(self._offsets[message.place])
            has_waited = await self._called(lane, message)
            return due if self._options.pace != "step" and not has_waited else None
        if self._options.pace == "reply":
            if message.call is not None:
                await self._called(lane, message)
                await self._transport.turn(self._pause_s(message.call.t / 1e6, message))
            elif before is None:  # clients that came one after the other then do so now
                await self._transport.until(self._offsets[message.place])
            else:
                await self._answered(lane, before.place)
                await self._transport.turn(self._think_s(before, message))
        return None

    def _think_s(self, before: RecordedMessage, message: RecordedMessage) -> float:
        """How long its client waited, then, after the answer before."""
        answered_at = self._conversation.answers[before.place].last_at
        return self._pause_s(before.t / 1e6 if answered_at is None else answered_at, message)

    def _pause_s(self, since_s: float, message: RecordedMessage) -> float:
        think_s = max(0.0, message.t / 1e6 - since_s)
        longest = self._options.max_gap_s
        return think_s if longest is None else min(think_s, longest)

    async def _called(self, lane: Lane, message: RecordedMessage) -> bool:
        """Return when the tool call has come whose result the message is, or nothing has for
        `settle_s`: without it the result could name none. Whether that was waited for."""
        if message.call is None or lane.has_called(message.call):
            return False
        while not (lane.calls_nothing or lane.has_called(message.call) or self._transport.stopped):
            lane.calls_nothing = not await self._something_comes()
        return True

    async def _answered(self, lane: Lane, place: int) -> None:
        """Return when as much has come to it as then, or nothing has for `settle_s`."""
        while place in lane.outstanding and not self._transport.stopped:
            if not await self._something_comes():
                return

    async def _something_comes(self) -> bool:
        moved = self._moved
        try:
            async with asyncio.timeout(self._options.settle_s):
                await moved.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self, lane: Lane, message: RecordedMessage) -> None:
        leaving = Leaving(self._sent_at, (message.place,))
        if message.client not in lane.clients:  # it is about to come
            await self._visits[message.lane, message.client].opened.wait()
        text = self._renewal.of(lane, message)
        with leaving.or_not():
            await lane.clients[message.client].send_text(text, leaving)

    async def _listen(self, visit: Visit) -> None:
        await visit.opened.wait()
        lane, client = visit.lane, visit.client

        def hear_texts(texts: list[bytes]) -> None:
            if lane.heard_texts(client, texts, time.monotonic()):
                self._wake()

        def hear(received: Received) -> None:
            if lane.heard(client, received, time.monotonic()):
                self._wake()

        await lane.clients[client].listen(hear_texts, hear)

    def _wake(self) -> None:
        """Let whoever waits for something to come look again."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def _settle(self) -> None:
        """Return when every recorded answer has come, or nothing of any has for `settle_s`."""
        while any(lane.outstanding for lane in self._lanes.values()):
            if self._transport.stopped or not await self._something_comes():
                return
        if self._script.some_unanswered:
            await asyncio.sleep(_FOR_EXTRAS_S)

    def progress(self) -> Progress:
        left_s = None
        if self._options.pace in ("original", "fixed"):
            left_s = (
                max(0.0, self._script.last_offset - self._transport.position)
                / self._transport.speed
            )
        lanes = self._lanes.values()
        return Progress(
            sent=len(self._sent_at),
            to_send=len(self._messages),
            replies=sum(lane.replies for lane in lanes),
            outstanding=sum(len(lane.outstanding) for lane in lanes),
            late_ms=self._late_s * 1000,
            left_s=left_s,
        )

    def _under_way(self) -> set[int]:
        """The messages whose answer somebody did not wait for."""
        if not self._cut_short:
            return set()
        return {place for lane in self._lanes.values() for place in lane.outstanding}

    def outcome(self) -> Round:
        """Compare every answer with the recorded one, as far as it went.

        What was under way when somebody stopped it is nobody's fault, and not compared.
        """
        lanes = self._lanes.values()
        under_way = self._under_way()
        sent, sent_at = self._messages, self._sent_at
        if under_way:
            sent_at = {place: at for place, at in sent_at.items() if place not in under_way}
        if len(sent_at) < len(sent):
            sent = [message for message in sent if message.place in sent_at]
        # A secret that the recording does not tell is compared with none.
        redactor = Redactor(os.urandom(32), known=self._options.known)
        comparer = Comparer(redactor, self._options.ignored)
        expect = self._options.expect
        arrivals = self._arrivals
        judgement = judge(sent, sent_at, arrivals, comparer, expect, with_cases=self._with_cases)
        ended_at = self._ended_at if self._ended_at is not None else time.monotonic()
        verdicts = {verdict.value: count for verdict, count in judgement.counts.items()}
        report = ReplayReport(
            sent=len(self._sent_at),
            held_back=self._conversation.held_back(),
            clients=sum(lane.opened for lane in lanes),
            silent=sum(
                self._visits[lane, client].opened.is_set()
                for client, lane in self._conversation.silent.items()
            ),
            replies=sum(lane.replies for lane in lanes),
            unasked=sum(lane.unasked for lane in lanes),
            same=verdicts["same"],
            same_shape=verdicts["same_shape"],
            different=verdicts["different"],
            missing=verdicts["missing"],
            extra=verdicts["extra"],
            uncompared=judgement.uncompared + len(self._sent_at) - len(sent_at),
            expect=expect,
            failed=judgement.failed,
            passed=not judgement.failed,
            context=self._context_sent,
            duration_s=ended_at - self._started_at,
            differences=judgement.differences,
            warnings=self._conversation.warnings,
        )
        return Round(
            report,
            judgement.cases,
            {**times(arrivals, sent_at), "lateness_ms": self._lateness.values_ms()},
            self._script.times.of(sent),
            self._lateness.late(),
            lambda: {place: arrivals[place] for place in sent_at},
        )
