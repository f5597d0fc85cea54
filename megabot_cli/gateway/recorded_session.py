"""One client's session that goes as a recorded one went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.gateway.forwarding import Forwarding
from megabot_cli.gateway.outbox import BinaryMessage
from megabot_cli.gateway.sessions import Listener, Session
from megabot_cli.protocol.envelope import Head, peek
from megabot_cli.protocol.ids import Prefix
from megabot_cli.recording.answers import ids_in, payload_of
from megabot_cli.recording.exchanges import Exchange, Gate, Lane, Steps
from megabot_cli.recording.rewriting import IdMap, rename, rewrite

if TYPE_CHECKING:
    from megabot_cli.gateway.recorded_answers import Found, RecordedAnswers
    from megabot_cli.gateway.recorded_connection import RecordedConnection

MOST_PLAYING = 1000
RESULT_LIMIT_S = 3600.0  # for the client's result of a tool call; then the rest is not told

# Where several sessions were recorded the first request says best which one this is.
LANE_UNKNOWN_S = 0.5

_PREFIXES: dict[str, Prefix] = {"execution_id": "exec", "task_id": "task", "stream_id": "stream"}


class RecordedSession(Session):
    """Finds recorded answers and gives them, each exchange in its own time.

    The same request again gets what came the next time it was recorded; after the last
    recorded time, that again. Which recorded session this one follows is known with its
    first request, or when something is due that nobody asked for.
    """

    def __init__(self, answers: RecordedAnswers, session_id: str, user_id: str, *more: Any) -> None:
        super().__init__(session_id, user_id, *more)
        self._recorded = answers
        self._tasks: TaskSet = more[1]
        self._ids = IdMap(new_id)
        self._lane: int | None = None
        self._lane_known = asyncio.Event()
        self._began_at: float | None = None
        self._uses: dict[Found, tuple[list[int], int]] = {}
        self._calls: dict[str, str] = {}  # tool calls we made: the id now, and the recorded one
        self._results: dict[str, asyncio.Event] = {}
        self._playing = 0
        self._forwarding: Forwarding | None = None
        self.connections: list[RecordedConnection] = []

    @property
    def full(self) -> bool:
        """Whether so many answers are under way that no request can be taken."""
        return self._playing >= MOST_PLAYING

    def greets_as_ever(self) -> bool:
        """Whether a greeting is expected of us that was not recorded."""
        lane = self._likely_lane()
        return lane.greeting is None and lane.speaks_envelopes is not False

    def greeting(self) -> bytes | None:
        """The recorded greeting, for this session; None where none was recorded."""
        lane = self._likely_lane()
        if lane.greeting is None:
            return None
        _, payload = self._recorded.payloads.read(lane.greeting)
        return _renewed(payload, self._new_ids(lane.sessions, {}))

    def _likely_lane(self) -> Lane:
        number = self._recorded.likely_lane() if self._lane is None else self._lane
        return self._recorded.exchanges.lanes[number]

    def begin(self) -> None:
        """The first connection is there: recorded time starts, unless it has started."""
        if self._began_at is not None:
            return
        self._began_at = asyncio.get_running_loop().time()
        if len(self._recorded.exchanges.lanes) == 1:
            self._follow(0)
        self._tasks.start(self._tell_unasked(), "gateway recorded session")

    def hear(self, head: Head | None, text: str | bytes) -> bool:
        """A request came; False when nothing like it was recorded."""
        ids = ids_in(payload_of(text))
        if head is not None and head.type == "tool_result":
            recorded = self._calls.pop(ids.get("execution_id", ""), None)
            if recorded is not None:
                self._result_came(recorded, head, ids)
                return True
        alike = self._recorded.alike(head, text)
        if alike is None:
            return False
        found, numbers = alike
        exchange = self._recorded.exchanges.exchanges[self._next(found, numbers)]
        self._start(exchange, head, ids)
        return True

    def forward(self, text: str | bytes, head: Head | None) -> None:
        """Ask the real upstream instead."""
        assert self._recorded.new_upstream is not None, "forward needs an upstream"
        if self._forwarding is None:
            self._forwarding = Forwarding(self, self._recorded.new_upstream, self._tasks)
        self._forwarding.send(text, head)

    def attach(self, listener: Listener) -> None:
        super().attach(listener)
        if self._forwarding is not None:
            self._forwarding.came_back()

    def detach(self, listener: Listener, undelivered: list[bytes], now: float) -> None:
        super().detach(listener, undelivered, now)
        if self._forwarding is not None and not self._listeners:
            self._forwarding.all_left()

    def _next(self, found: Found, numbers: list[int]) -> int:
        if found not in self._uses:
            self._uses[found] = (self._of_our_lane(numbers), 0)
        of_ours, used = self._uses[found]
        self._uses[found] = (of_ours, used + 1)
        return of_ours[min(used, len(of_ours) - 1)]

    def _of_our_lane(self, numbers: list[int]) -> list[int]:
        """Those of the recorded session that we follow; of any, where it has none."""
        exchanges = self._recorded.exchanges.exchanges
        if self._lane is None:
            lanes = list(dict.fromkeys(exchanges[number].lane for number in numbers))
            self._follow(self._recorded.likely_lane(lanes))
        return [n for n in numbers if exchanges[n].lane == self._lane] or numbers

    def _follow(self, lane: int) -> None:
        self._lane = lane
        self._recorded.claim(lane)
        self._lane_known.set()

    def _start(self, exchange: Exchange, head: Head | None, ids: dict[str, str]) -> None:
        lane = self._recorded.exchanges.lanes[exchange.lane]
        names = self._new_ids(lane.sessions, exchange.own_ids)
        now = ids if head is None or head.id is None else {**ids, "id": head.id}
        for field, recorded in exchange.ids.items():
            if field in now:
                names.learn(recorded, now[field])
                self._ids.learn(recorded, now[field])
        self._playing += 1
        self._tasks.start(self._play(exchange, names), "gateway recorded answer")

    def _new_ids(self, sessions: set[str], own_ids: dict[str, str]) -> IdMap:
        """The names for one exchange: what it names first gets a fresh id each time."""
        ids = IdMap(new_id, self._ids)
        for session in sessions:
            ids.learn(session, self.session_id)
        for recorded, field in own_ids.items():
            now = ids.fresh(recorded, _PREFIXES[field])
            self._ids.learn(recorded, now)
            if field == "execution_id":
                self._calls[now] = recorded
        return ids

    def _result_came(self, recorded: str, head: Head, ids: dict[str, str]) -> None:
        number = self._recorded.exchanges.results.get(recorded)
        if number is not None:
            self._start(self._recorded.exchanges.exchanges[number], head, ids)
        self._results.setdefault(ids["execution_id"], asyncio.Event()).set()

    async def _tell_unasked(self) -> None:
        """Tell what nobody asked for, at its time since the session began."""
        assert self._began_at is not None
        if self._lane is None:
            await self._until_lane_is_known()
        if self._lane is None:
            self._follow(self._recorded.likely_lane())
        assert self._lane is not None
        lane = self._recorded.exchanges.lanes[self._lane]
        ids = self._new_ids(lane.sessions, lane.own_ids)
        await self._tell(lane.unasked, slice(None), lane.began_us, self._began_at, ids)

    async def _until_lane_is_known(self) -> None:
        lanes = self._recorded.exchanges.lanes
        likely = lanes[self._recorded.likely_lane()]
        due = self._recorded.pacing.due_s(likely.began_us, likely.unasked.times_us[:1])
        limit_s = max(due[0], LANE_UNKNOWN_S) if due else None
        try:
            async with asyncio.timeout(limit_s):
                await self._lane_known.wait()
        except TimeoutError:
            return

    async def _play(self, exchange: Exchange, ids: IdMap) -> None:
        try:
            start_us, at = exchange.at_us, asyncio.get_running_loop().time()
            step = 0
            for gate in exchange.gates:
                await self._tell(exchange.steps, slice(step, gate.step), start_us, at, ids)
                if not await self._result_of(gate, ids):
                    return
                step, start_us, at = gate.step, gate.at_us, asyncio.get_running_loop().time()
            await self._tell(exchange.steps, slice(step, None), start_us, at, ids)
        finally:
            self._playing -= 1

    async def _result_of(self, gate: Gate, ids: IdMap) -> bool:
        """Wait for the client's result of a tool call; False when it never comes."""
        now = ids.known(gate.execution_id)
        came = self._results.setdefault(now, asyncio.Event())
        try:
            async with asyncio.timeout(RESULT_LIMIT_S):
                await came.wait()
        except TimeoutError:
            return False
        finally:
            self._results.pop(now, None)
        return True

    async def _tell(self, steps: Steps, which: slice, start_us: int, at: float, ids: IdMap) -> None:
        loop = asyncio.get_running_loop()
        times: Sequence[int] = steps.times_us[which]
        dues = self._recorded.pacing.due_s(start_us, times)
        for due_s, place in zip(dues, steps.places[which], strict=True):
            wait_s = at + due_s - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await self.until_room()
            await self._tell_one(place, ids)

    async def _tell_one(self, place: int, ids: IdMap) -> None:
        kind, payload = self._recorded.payloads.read(place)
        if kind == "text":
            self.send(_renewed(payload, ids))
        elif kind == "binary":
            self.send(BinaryMessage(payload))
        elif self._recorded.closes:
            code, reason = msgspec.json.decode(payload, type=tuple[int, str])
            for connection in list(self.connections):
                await connection.close_as_recorded(code, reason)


def _renewed(payload: bytes, ids: IdMap) -> bytes:
    """A recorded text as it is said now; in another dialect only its references are new."""
    text = payload.decode("utf-8", "surrogatepass")
    head = peek(text)
    is_envelope = head is not None and head.id is not None
    said = rewrite(text, ids, time.time()) if is_envelope else rename(text, ids)
    return said.encode("utf-8", "surrogatepass")
