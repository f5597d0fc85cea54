"""Requests that wait until an answer could not be taken for the answer to another one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from megabot_cli.relay.upstream_queue import Waiting


class HeldBack:
    """First in, first out per client; turns are taken between clients.

    `in_order`: first in, first out altogether. Where answers name nothing, the order of a
    recording is what tells which is whose.
    """

    def __init__(self, *, in_order: bool = False) -> None:
        self._in_order = in_order
        self._lanes: OrderedDict[str, deque[Waiting]] = OrderedDict()
        self._kinds: dict[str | None, int] = {}
        self.bytes = 0
        self.count = 0  # asked for each message: a plain attribute

    def __len__(self) -> int:
        return self.count

    def of_client(self, client: str) -> int:
        if self._in_order:
            return sum(each.client == client for lane in self._lanes.values() for each in lane)
        return len(self._lanes.get(client, ()))

    def has_kind(self, kind: str | None) -> bool:
        return self._kinds.get(kind, 0) > 0

    def add(self, waiting: Waiting) -> None:
        lane = "" if self._in_order else waiting.client
        self._lanes.setdefault(lane, deque()).append(waiting)
        self._kinds[waiting.kind] = self._kinds.get(waiting.kind, 0) + 1
        self.bytes += len(waiting.data)
        self.count += 1

    def let_go(self, may: Callable[[Waiting], bool]) -> Iterator[Waiting]:
        """One of each client in turn, for as long as `may` lets any go.

        A client's next one is asked about after all that was let go before it was dealt with.
        """
        moved = True
        while moved:
            moved = False
            for name in list(self._lanes):
                lane = self._lanes.get(name)
                if lane and may(lane[0]):
                    moved = True
                    yield self._take(name, lane)

    def expire(self, before: float) -> list[Waiting]:
        """Take out what has waited since before then (monotonic seconds)."""
        gone: list[Waiting] = []
        for name in list(self._lanes):
            lane = self._lanes[name]
            while lane and lane[0].at < before:
                gone.append(self._take(name, lane))
        return gone

    def take_all(self) -> list[Waiting]:
        return list(self.let_go(lambda waiting: True))

    def _take(self, name: str, lane: deque[Waiting]) -> Waiting:
        waiting = lane.popleft()
        self._kinds[waiting.kind] -= 1
        self.bytes -= len(waiting.data)
        self.count -= 1
        if lane:
            self._lanes.move_to_end(name)
        else:
            del self._lanes[name]
        return waiting
