"""Messages of clients that wait to go upstream: fair, bounded, and never silently gone."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque

import msgspec

from megabot_cli.config.schema import LimitSettings, RelaySettings
from megabot_cli.protocol.batching import counts_as, may_be_wrapped
from megabot_cli.protocol.messages import MAX_BATCH


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """One accepted message. `message_id` is None when it is no envelope."""

    client: str
    message_id: str | None
    data: bytes
    binary: bool
    at: float  # monotonic seconds
    kind: str | None = None  # of a request that an answer follows
    urgent: bool = False  # the upstream waits for it
    inner: tuple[Waiting, ...] = ()  # what is wrapped in it, when it is a batch
    connection: str | None = None  # of its client, while it waits for its turn
    batch: str | None = None  # the client's that it came in

    def apart(self) -> tuple[Waiting, ...]:
        """The messages that clients sent: what is wrapped for none of them is the relay's own
        batch."""
        return self.inner if self.inner and not self.client else (self,)

    def requests(self) -> list[Waiting]:
        """The requests in a batch: each has a sender who waits for an answer."""
        return [each for each in self.inner if each.kind is not None]

    def counts_as(self) -> int:
        """How many messages this is for the rate limit, also where they came as gzip."""
        if self.binary and self.inner:
            return min(len(self.inner), MAX_BATCH)
        return counts_as(self.data)

    def leaving(self) -> Leaving:
        """The same for the short time until it is written."""
        return (
            *(self.client, self.message_id, self.data, self.binary, self.at),
            *(self.kind, self.urgent, self.inner),
        )


# A `Waiting`'s fields in their order, for what need not wait: a tuple costs a quarter.
Leaving = tuple[str, str | None, bytes, bool, float, str | None, bool, tuple[Waiting, ...]]


class Overflow(msgspec.Struct, frozen=True):
    """Why a message was not accepted: the code for its sender, and a sentence."""

    code: int
    error: str
    message: str


class UpstreamQueue:
    """First in, first out per client; turns are taken between clients. What is urgent (a
    `tool_result`) goes before all that is not.

    While the link is up only a client's own bound counts (429). While it is down all
    clients together may have `wait_messages` and `wait_bytes` waiting (503), each for
    `wait_s` at most.
    """

    def __init__(self, limits: LimitSettings, relay: RelaySettings) -> None:
        self._limits = limits
        self._relay = relay
        self._lanes: OrderedDict[str, deque[Waiting]] = OrderedDict()
        self._urgent: deque[Waiting] = deque()
        self._urgent_of: Counter[str] = Counter()  # how many of a client's are urgent
        self.count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self.count

    def offer(self, waiting: Waiting, *, link_up: bool) -> Overflow | None:
        """Accept a message, or say why not; an accepted one leaves by `take` or `expire`."""
        if not link_up and self._over_while_down(len(waiting.data)):
            text = "the upstream is away and no more messages may wait for it"
            return Overflow(503, "upstream_unavailable", text)
        mine = self._waiting_of(waiting)
        if self._limits.queue and mine >= self._limits.queue:
            text = f"{mine} of your messages wait already; slow down"
            return Overflow(429, "rate_limited", text)
        self._lane(waiting).append(waiting)
        self._note(waiting)
        return None

    def _waiting_of(self, waiting: Waiting) -> int:
        """How many of its client's wait already that are as urgent, or are not."""
        if waiting.urgent:
            return self._urgent_of[waiting.client]
        return len(self._lanes.get(waiting.client, ()))

    def _lane(self, waiting: Waiting) -> deque[Waiting]:
        if waiting.urgent:
            return self._urgent
        return self._lanes.setdefault(waiting.client, deque())

    def resize(self, limits: LimitSettings, relay: RelaySettings) -> None:
        """Other bounds hold for what is offered from now on; what waits stays."""
        self._limits = limits
        self._relay = relay

    def _over_while_down(self, size: int) -> bool:
        too_many = self.count >= self._relay.wait_messages
        return too_many or self.bytes + size > self._relay.wait_bytes

    def take(self) -> Waiting | None:
        """The next message to write: the oldest of the client whose turn it is."""
        if self._urgent:
            urgent = self._urgent.popleft()
            self._forget(urgent)
            return urgent
        if not self._lanes:
            return None
        client, lane = next(iter(self._lanes.items()))
        waiting = lane.popleft()
        if lane:
            self._lanes.move_to_end(client)
        else:
            del self._lanes[client]
        self._forget(waiting)
        return waiting

    def take_together(self, most: int, most_bytes: int) -> list[Waiting]:
        """The next messages that may leave in one batch, by turns; at least one if any wait.

        `most_bytes` 0 is no limit. What a batch must not hold leaves alone.
        """
        together: list[Waiting] = []
        size = 0
        while len(together) < most and (waiting := self.take()) is not None:
            size += len(waiting.data) + 1
            fits = not most_bytes or size <= most_bytes
            if together and not (fits and _may_be_wrapped(waiting)):
                self.put_back([waiting])
                break
            together.append(waiting)
            if not _may_be_wrapped(waiting):
                break
        return together

    def put_back(self, messages: list[Waiting]) -> None:
        """Messages that were taken and could not be written are first in line again, a client's
        batch as it came."""
        for waiting in reversed([each for taken in messages for each in taken.apart()]):
            self._lane(waiting).appendleft(waiting)
            self._note(waiting)

    def expire(self, now: float) -> list[Waiting]:
        """Take out what has waited longer than `wait_s`, oldest first."""
        expired = []
        while self._urgent and now - self._urgent[0].at >= self._relay.wait_s:
            expired.append(self._urgent.popleft())
            self._forget(expired[-1])
        for client in list(self._lanes):
            lane = self._lanes[client]
            while lane and now - lane[0].at >= self._relay.wait_s:
                expired.append(lane.popleft())
                self._forget(expired[-1])
            if not lane:
                del self._lanes[client]
        return sorted(expired, key=lambda waiting: waiting.at)

    def take_all(self) -> list[Waiting]:
        """Take out everything, oldest first."""
        everything = sorted(
            (waiting for lane in (self._urgent, *self._lanes.values()) for waiting in lane),
            key=lambda waiting: waiting.at,
        )
        self._urgent.clear()
        self._urgent_of.clear()
        self._lanes.clear()
        self.count = self.bytes = 0
        return everything

    def _note(self, waiting: Waiting) -> None:
        self.count += 1
        self.bytes += len(waiting.data)
        if waiting.urgent:
            self._urgent_of[waiting.client] += 1

    def _forget(self, waiting: Waiting) -> None:
        self.count -= 1
        self.bytes -= len(waiting.data)
        if waiting.urgent:
            self._urgent_of[waiting.client] -= 1
            if not self._urgent_of[waiting.client]:
                del self._urgent_of[waiting.client]


def _may_be_wrapped(waiting: Waiting) -> bool:
    return not waiting.binary and may_be_wrapped(waiting.data)
