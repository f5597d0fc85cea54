"""Results of tool calls, kept for an upstream that lost them with its link and asks again."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from megabot_cli.relay.upstream_queue import Waiting

MOST_REMEMBERED = 1000
MOST_BYTES = 4 * 1024 * 1024  # together; of the oldest it is then only known that they were given

# In the place of a connection's number:
_WAITS = -1  # not yet written on any
_MISSED = -2  # it was to be written, and nobody will


class _Given(msgspec.Struct):
    result: Waiting | None  # None: too much was kept
    on: int = _WAITS  # the number of the connection that it was written on


class KeptResults:
    """The newest results by their call. One that was written on a connection that has fallen
    since may never have arrived."""

    def __init__(self, limit: int = MOST_REMEMBERED, most_bytes: int = MOST_BYTES) -> None:
        self._given: OrderedDict[str, _Given] = OrderedDict()
        self._limit = limit
        self._most_bytes = most_bytes
        self._bytes = 0
        self._connection = 0

    def __len__(self) -> int:
        return len(self._given)

    @property
    def bytes(self) -> int:
        return self._bytes

    def link_lost(self) -> None:
        self._connection += 1

    def keep(self, execution_id: str, result: Waiting) -> None:
        """A result is to go up; `written` follows."""
        self._forget(self._given.pop(execution_id, None))
        self._given[execution_id] = _Given(result)
        self._bytes += len(result.data)
        if len(self._given) > self._limit:
            self._forget(self._given.popitem(last=False)[1])
        for given in self._given.values():
            if self._bytes <= self._most_bytes:
                break
            self._forget(given)

    def written(self, execution_id: str) -> None:
        if (given := self._given.get(execution_id)) is not None:
            given.on = self._connection

    def unwritten(self, execution_id: str) -> None:
        """The link fell before it left: it waits again."""
        if (given := self._given.get(execution_id)) is not None:
            given.on = _WAITS

    def missed(self, execution_id: str) -> None:
        """It was refused, or has waited too long, and does not go up."""
        if (given := self._given.get(execution_id)) is not None:
            given.on = _MISSED

    def may_be_lost(self, execution_id: str) -> bool:
        """Whether an upstream that asks for it again may have no answer, and none on its way."""
        given = self._given.get(execution_id)
        return given is not None and given.on not in (_WAITS, self._connection)

    def result_of(self, execution_id: str) -> Waiting | None:
        """What was given; None: it is not kept any more."""
        given = self._given.get(execution_id)
        return given.result if given is not None else None

    def _forget(self, given: _Given | None) -> None:
        if given is not None and given.result is not None:
            self._bytes -= len(given.result.data)
            given.result = None
