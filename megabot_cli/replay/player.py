"""Play a recording back: one socket for each recorded client, each in its own order."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.client.ids import new_id
from megabot_cli.errors import MegabotError
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.pace import capped_offsets_s
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.rewriting import IdMap, rewrite
from megabot_cli.replay.compare import Comparer
from megabot_cli.replay.conversation import Conversation, RecordedMessage, read_conversation
from megabot_cli.replay.judging import judge, timing
from megabot_cli.replay.lane import Lane
from megabot_cli.replay.lateness import Lateness
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.report import ReplayReport
from megabot_cli.storage.segment_reader import RecordingReader

# Where nothing was recorded in answer, something that comes would come at once.
_FOR_EXTRAS_S: Final = 0.2

NewClient = Callable[[str, str | None], MegaBotClient]
"""Makes the client that stands for a recorded one (its name); given a session, it joins that."""


class Progress(msgspec.Struct, frozen=True):
    """How far a replay is. `left_s` is None at a pace that the upstream decides."""

    sent: int
    to_send: int
    replies: int
    outstanding: int
    late_ms: float
    left_s: float | None


async def play(
    reader: RecordingReader,
    options: ReplayOptions,
    new_client: NewClient,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> ReplayReport:
    """Send what the recorded clients sent, and compare what comes with what came then.

    Recorded clients that shared a session share a fresh one. The first fault of a connection
    ends the replay: CouldNotConnect, NotAuthenticated, ConnectionLost. Other answers are no
    fault; the report's `passed` says whether they are what `options.expect` allows.
    """
    run = _Run(read_conversation(reader, options), options, on_progress)
    try:
        async with AsyncExitStack() as cleanup:
            await run.connect(new_client, cleanup)
            await run.go()
    except ExceptionGroup as faults:
        raise _cause(faults) from None
    return run.report()


class _Run:
    """One replay under way."""

    def __init__(
        self,
        conversation: Conversation,
        options: ReplayOptions,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._conversation = conversation
        self._options = options
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._ids = IdMap(new_id)
        self._lanes: dict[str, Lane] = {}
        self._messages = conversation.to_send()
        self._due: dict[int, float] = {}
        self._sent_at: dict[int, float] = {}
        self._lateness = Lateness()
        self._late_s = 0.0
        self._moved = asyncio.Event()
        self._started_at = self._last_due = self._ended_at = self._loop.time()

    async def connect(self, new_client: NewClient, cleanup: AsyncExitStack) -> None:
        """Open a client for each recorded one; its fellows join the session of the first."""
        sessions: dict[str, str | None] = {}
        for name, clients in self._conversation.lanes().items():
            lane = self._lanes[name] = Lane(self._conversation.answers, self._ids)
            sessions[name] = None
            for client in clients:
                opened = await cleanup.enter_async_context(new_client(client, sessions[name]))
                lane.clients[client] = opened
                sessions[name] = sessions[name] or opened.session_id
        for message in self._messages:
            session_id = sessions[message.lane]
            if message.session is not None and session_id is not None:
                self._ids.learn(message.session, session_id)

    async def go(self) -> None:
        """Send everything, then wait for what is still to come."""
        self._plan()
        by_client: defaultdict[tuple[str, str], list[RecordedMessage]] = defaultdict(list)
        for message in self._messages:
            by_client[message.lane, message.client].append(message)
        async with asyncio.TaskGroup() as tasks:
            listeners = [
                tasks.create_task(self._listen(self._lanes[lane], client), name="replay: listen")
                for lane, client in by_client
            ]
            async with asyncio.TaskGroup() as senders:
                for (lane, _), messages in by_client.items():
                    senders.create_task(
                        self._send_all(self._lanes[lane], messages), name="replay: send"
                    )
            await self._settle()
            for listener in listeners:
                listener.cancel()
        self._ended_at = self._loop.time()

    def _plan(self) -> None:
        self._started_at = self._loop.time()
        offsets = capped_offsets_s([m.t for m in self._messages], self._options.max_gap_s)
        self._due = {
            message.place: self._started_at + offset / self._options.speed
            for message, offset in zip(self._messages, offsets, strict=True)
        }
        self._last_due = max(self._due.values(), default=self._started_at)

    async def _send_all(self, lane: Lane, messages: list[RecordedMessage]) -> None:
        paced = self._options.pace == "original"
        for message in messages:
            due = self._due[message.place]
            if paced:
                await asyncio.sleep(due - self._loop.time())
            await self._send(lane, message)
            if paced:
                self._late_s = self._lateness.note(due, self._loop.time())
            self._tell()

    async def _send(self, lane: Lane, message: RecordedMessage) -> None:
        text = message.text
        if isinstance(text, str) and not self._options.keep_ids:
            text = rewrite(text, self._ids, time.time())
        head = peek(text) if isinstance(text, str) else None
        message_id = head.id if head is not None else None
        lane.sending(message.client, message.place, message_id, text, compared=message.compared)
        self._sent_at[message.place] = self._loop.time()
        await lane.clients[message.client].send_text(text)

    async def _listen(self, lane: Lane, client: str) -> None:
        async for received in lane.clients[client]:
            lane.heard(client, received, self._loop.time())
            self._moved.set()
            self._tell()

    async def _settle(self) -> None:
        """Return when every recorded answer has come, or nothing has for `settle_s`."""
        while any(lane.outstanding for lane in self._lanes.values()):
            self._moved.clear()
            try:
                async with asyncio.timeout(self._options.settle_s):
                    await self._moved.wait()
            except TimeoutError:
                return
        recorded = self._conversation.answers
        if any(not recorded[message.place].parts for message in self._messages):
            await asyncio.sleep(_FOR_EXTRAS_S)

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        left_s = None
        if self._options.pace == "original":
            left_s = max(0.0, self._last_due - self._loop.time())
        lanes = self._lanes.values()
        self._on_progress(
            Progress(
                sent=len(self._sent_at),
                to_send=len(self._messages),
                replies=sum(lane.replies for lane in lanes),
                outstanding=sum(len(lane.outstanding) for lane in lanes),
                late_ms=self._late_s * 1000,
                left_s=left_s,
            )
        )

    def report(self) -> ReplayReport:
        """Compare every answer with the recorded one."""
        lanes = self._lanes.values()
        recorded = self._conversation.answers
        replayed = {place: answer for lane in lanes for place, answer in lane.answers.items()}
        # A secret that the recording does not tell is compared with none.
        comparer = Comparer(Redactor(os.urandom(32)))
        expect = self._options.expect
        judgement = judge(self._messages, recorded, replayed, comparer, expect)
        return ReplayReport(
            sent=len(self._sent_at),
            held_back=self._conversation.held_back(),
            clients=sum(len(lane.clients) for lane in lanes),
            replies=sum(lane.replies for lane in lanes),
            unasked=sum(lane.unasked for lane in lanes),
            **{verdict.value: count for verdict, count in judgement.counts.items()},
            uncompared=judgement.uncompared,
            expect=expect,
            passed=judgement.passed,
            duration_s=self._ended_at - self._started_at,
            lateness=self._lateness.summary(),
            recorded_timing=timing(recorded, {m.place: m.t / 1e6 for m in self._messages}),
            replayed_timing=timing(replayed, self._sent_at),
            differences=judgement.differences,
            warnings=self._conversation.warnings,
        )


def _cause(faults: ExceptionGroup[Exception]) -> Exception:
    """What to tell of several tasks that failed at once: a fault of ours before any other."""
    flat = [
        _cause(fault) if isinstance(fault, ExceptionGroup) else fault for fault in faults.exceptions
    ]
    return next((fault for fault in flat if not isinstance(fault, MegabotError)), flat[0])
