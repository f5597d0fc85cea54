"""A recording as somebody sees it who answers from it: requests, and what came to each.

What was said itself is not kept here: `keep` takes it and gives a number to find it by, so
that a long recording costs little memory.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from megabot_cli.errors import BadData
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import Head
from megabot_cli.recording.answers import Answer, ids_in, messages_in, payload_of
from megabot_cli.recording.correlator import Correlator
from megabot_cli.recording.flat_greetings import FlatGreetings
from megabot_cli.recording.likeness import NOTHING_WILD, Likeness, Surroundings
from megabot_cli.recording.record import Record

MOST_REQUESTS: Final = 1_000_000

Kind = Literal["text", "binary", "close"]
Keep = Callable[[Kind, bytes], int]


class Steps(msgspec.Struct, gc=False):
    """What came, in order: microseconds of the recording, and where each is kept."""

    times_us: array[int] = msgspec.field(default_factory=lambda: array("q"))
    places: array[int] = msgspec.field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.times_us)

    def add(self, at_us: int, place: int) -> None:
        self.times_us.append(at_us)
        self.places.append(place)


class Gate(msgspec.Struct, frozen=True, gc=False):
    """Steps from number `step` on came after the client's result of a tool call."""

    step: int
    execution_id: str
    at_us: int


class Exchange(msgspec.Struct):
    """One recorded request and what came to it.

    `key` and `around` say what request is like it. `ids` are those the request names, by the
    name of the field; `own_ids` those that what came to it named first.
    """

    lane: int
    at_us: int
    key: bytes
    wild: frozenset[str]
    around: Surroundings
    type: str | None
    ids: dict[str, str]
    own_ids: dict[str, str] = {}
    steps: Steps = msgspec.field(default_factory=Steps)
    gates: list[Gate] = []
    refused: bool = False  # by the relay that recorded it: the upstream never saw it


class Lane(msgspec.Struct):
    """One recorded session: how it began, what was told unasked, what was asked.

    `speaks_envelopes` is False where the upstream spoke another dialect, which greets in
    its own way or not at all.
    """

    began_us: int
    greeting: int | None = None
    speaks_envelopes: bool | None = None
    sessions: set[str] = set()
    unasked: Steps = msgspec.field(default_factory=Steps)
    own_ids: dict[str, str] = {}
    exchanges: list[int] = []


class Exchanges(msgspec.Struct):
    """All that a recording can answer.

    `alike` finds exchanges by what was asked, in the order of the recording; `wilds` are the
    sets of paths that do not count when a request of that type is looked for; `results`
    finds the exchange that a tool's result began, by its execution id.
    """

    lanes: list[Lane]
    exchanges: list[Exchange]
    alike: dict[tuple[frozenset[str], bytes], list[int]]
    wilds: dict[str | None, list[frozenset[str]]]
    results: dict[str, int]


class ExchangeReading:
    """Takes the records of a recording, one after the other."""

    def __init__(self, likeness: Likeness, keep: Keep) -> None:
        self._likeness = likeness
        self._keep = keep
        self._lanes: list[Lane] = []
        self._exchanges: list[Exchange] = []
        self._lane_numbers: dict[str, int] = {}
        self._correlators: defaultdict[int, Correlator] = defaultdict(Correlator)
        self._known_ids: defaultdict[int, set[str]] = defaultdict(set)
        self._calls: dict[str, int] = {}  # the exchange that a tool call came in, by its id
        self._results: dict[str, int] = {}
        self._by_id: dict[tuple[str | int, str], int] = {}  # by who asked, and by lane
        self._greetings = FlatGreetings()
        self._said_last: dict[int, Answer] = {}

    def take(self, record: Record) -> None:
        if record.kind == "open":
            self._lane_of(record)
            self._greetings.opened(record)
        elif record.kind == "close":
            self._closed(record)
        elif record.kind in ("message", "inject"):
            payload = record.payload()
            if payload is None:
                return
            if record.direction == "to_upstream":
                self._asked(record, payload)
            elif record.kind == "inject":
                self._told_by_the_relay(record)
            elif record.direction == "to_client":
                self._came(record, payload)

    def finish(self) -> Exchanges:
        """All that was read. BadData when there is nothing that a client could be told."""
        if not any(lane.greeting is not None or len(lane.unasked) for lane in self._lanes) and (
            not any(len(exchange.steps) for exchange in self._exchanges)
        ):
            raise BadData(
                "The recording holds nothing that an upstream said",
                "`megabot recordings show` shows what is in it.",
            )
        found = Exchanges(self._lanes, self._exchanges, {}, {}, self._results)
        results = set(self._results.values())
        for number, exchange in enumerate(self._exchanges):
            if number in results or (exchange.refused and not len(exchange.steps)):
                continue
            found.alike.setdefault((exchange.wild, exchange.key), []).append(number)
            wilds = found.wilds.setdefault(exchange.type, [])
            if exchange.wild not in wilds:
                wilds.append(exchange.wild)
        return found

    def _lane_of(self, record: Record) -> int:
        """The session that a record is of: links that went on with it are the same lane."""
        names = [name for name in (record.session, record.link) if name is not None]
        names = names or [record.client or ""]
        number = next((n for name in names if (n := self._lane_numbers.get(name)) is not None), -1)
        if number < 0:
            number = len(self._lanes)
            self._lanes.append(Lane(began_us=record.t))
        for name in names:
            self._lane_numbers.setdefault(name, number)
        if record.session is not None:
            self._lanes[number].sessions.add(record.session)
        return number

    def _asked(self, record: Record, payload: str | bytes) -> None:
        lane = self._lane_of(record)
        redacted = record.redacted or []
        messages = messages_in(payload)
        for place, (head, text) in enumerate(messages):
            wild = _wild(redacted, place if len(messages) > 1 or text is not payload else None)
            self._add(record, lane, head, text, wild)

    def _add(
        self,
        record: Record,
        lane: int,
        head: Head | None,
        text: str | bytes,
        wild: frozenset[str],
    ) -> None:
        number = len(self._exchanges)
        if number >= MOST_REQUESTS:
            raise BadData(
                f"The recording holds more than {MOST_REQUESTS:,} requests",
                "Record less at a time: `recording.segment_bytes` makes more segments, and a "
                "segment can be served alone.",
            )
        message_id = head.id if head is not None else None
        message_type = head.type if head is not None else None
        ids = ids_in(payload_of(text))
        exchange = Exchange(
            lane=lane,
            at_us=record.t,
            key=self._likeness.key(text, wild),
            wild=wild,
            around=self._likeness.surroundings(text, wild),
            type=message_type,
            ids=dict(ids) if message_id is None else {**ids, "id": message_id},
        )
        self._exchanges.append(exchange)
        self._lanes[lane].exchanges.append(number)
        self._known_ids[lane].update(ids.values())
        if message_id is not None:
            self._by_id[lane, message_id] = number
            self._by_id[record.client or "", message_id] = number
        execution_id = ids.get("execution_id", "")
        if message_type == "tool_result" and execution_id in self._calls:
            self._results[execution_id] = number
            called = self._exchanges[self._calls[execution_id]]
            called.gates.append(Gate(len(called.steps), execution_id, record.t))
        self._correlators[lane].sent(number, message_id, text, record.client)

    def _came(self, record: Record, payload: str | bytes) -> None:
        number = self._lane_of(record)
        lane = self._lanes[number]
        place = self._keep(*_kept(payload))
        if lane.speaks_envelopes is None:
            lane.speaks_envelopes = record.type is not None and record.id is not None
        if record.type == "connection_established":
            if lane.greeting is None:
                lane.greeting = place
            return
        owner = self._owner(number, record, payload)
        into = lane.unasked if owner is None else self._exchanges[owner].steps
        into.add(record.t, place)
        own_ids = lane.own_ids if owner is None else self._exchanges[owner].own_ids
        known = self._known_ids[number]
        for head, message in messages_in(payload):
            ids = ids_in(payload_of(message))
            for name, value in ids.items():
                if value not in known:
                    known.add(value)
                    own_ids[value] = name
            if owner is not None and head is not None and head.type == "tool_call":
                self._calls[ids.get("execution_id", "")] = owner

    def _owner(self, lane: int, record: Record, payload: str | bytes) -> int | None:
        """The exchange that something belongs to; None when nobody asked for it."""
        if self._greetings.is_one(record):
            return None
        grown = self._correlators[lane].came(payload, record.t / 1e6, client=record.client)
        if not grown:
            # A tool is called for the sake of what was asked and is not answered yet.
            return self._unanswered(lane) if record.type == "tool_call" else None
        owner = grown[0][0]
        answer = self._correlators[lane].answers[owner]
        before = self._said_last.get(lane)
        if before is not None and before is not answer:
            before.forget_words()
        self._said_last[lane] = answer
        return owner

    def _unanswered(self, lane: int) -> int | None:
        exchanges = self._lanes[lane].exchanges
        if not exchanges:
            return None
        answer = self._correlators[lane].answers[exchanges[-1]]
        return None if answer.ended else exchanges[-1]

    def _closed(self, record: Record) -> None:
        """The upstream hung up: after the last thing it was asked, if there was any."""
        code = record.code
        if code is None and record.by == "upstream":
            code = CloseCode.NORMAL  # it gave none, which is the nearest
        if record.by not in (None, "upstream") or record.client is not None or code is None:
            return
        lane = self._lanes[self._lane_of(record)]
        told = msgspec.json.encode([int(code), record.reason or ""])
        steps = self._exchanges[lane.exchanges[-1]].steps if lane.exchanges else lane.unasked
        steps.add(record.t, self._keep("close", told))

    def _told_by_the_relay(self, record: Record) -> None:
        """The relay's own word on a message that never left says nothing of the upstream."""
        name = record.reply_to or ""
        number = self._by_id.get((record.client or "", name))
        if number is None:
            number = self._by_id.get((self._lane_of(record), name))  # told when it came back
        if number is not None and record.type == "connection_error":
            self._exchanges[number].refused = True


def _kept(payload: str | bytes) -> tuple[Kind, bytes]:
    if isinstance(payload, bytes):
        return "binary", payload
    return "text", payload.encode("utf-8", "surrogatepass")


def _wild(redacted: list[str], place: int | None) -> frozenset[str]:
    """The redacted paths of a message; `place` says which one of a batch it is."""
    if not redacted:
        return NOTHING_WILD
    if place is None:
        return frozenset(redacted)
    before = f"$.payload.messages[{place}]"
    return frozenset(
        "$" + path.removeprefix(before) for path in redacted if path.startswith(before)
    )
