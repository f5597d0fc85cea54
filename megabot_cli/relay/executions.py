"""`tool_call`s from upstream: each is carried out once, and answered once."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

MOST_REMEMBERED = 1000
HANDED_FACTOR = 10  # without an executor a call is handed to everybody


class Claim(Enum):
    """What a client's `tool_result` is."""

    FIRST = "first"  # the answer: it goes up
    AGAIN = "again"  # somebody has answered before
    NOT_YOURS = "not_yours"  # another client carries it out
    UNKNOWN = "unknown"  # no call of that name was seen; the upstream may know better


# Why a result that may not go up is refused: the word for its sender, and a sentence.
REFUSALS = {
    Claim.AGAIN: ("already_answered", "this call has been answered before"),
    Claim.NOT_YOURS: ("not_the_executor", "another client carries this call out"),
}


class Executions:
    """Who carries out which call. Without an executor whoever answers first has answered."""

    def __init__(self, limit: int = MOST_REMEMBERED) -> None:
        self._open: OrderedDict[str, str | None] = OrderedDict()  # execution → client's name
        self._handed: OrderedDict[tuple[str, str], None] = OrderedDict()  # execution, connection
        # With who was to carry it out: an answer may be given back.
        self._answered: OrderedDict[str, str | None] = OrderedDict()
        self._unasked: OrderedDict[str, None] = OrderedDict()  # answered, and no call was seen
        self._limit = limit
        self._most_handed = limit * HANDED_FACTOR

    def __len__(self) -> int:
        return len(self._open)

    def called(self, execution_id: str, executor: str | None) -> str | None:
        """A call came: note who carries it out and return that name; None: whoever likes.

        One that is repeated stays with whom it had; where nobody was to carry it out, and
        somebody is now, it is theirs.
        """
        if execution_id in self._open:
            if self._open[execution_id] is None:
                self._open[execution_id] = executor
            return self._open[execution_id]
        if execution_id in self._answered:
            return None
        self._unasked.pop(execution_id, None)
        self._open[execution_id] = executor
        if len(self._open) > self._limit:
            self._open.popitem(last=False)
        return executor

    def claim(self, execution_id: str, client: str) -> Claim:
        """A client wants to answer a call; only the first answer is one."""
        if execution_id in self._answered or execution_id in self._unasked:
            return Claim.AGAIN
        if execution_id not in self._open:
            self._unasked[execution_id] = None
            if len(self._unasked) > self._limit:
                self._unasked.popitem(last=False)
            return Claim.UNKNOWN
        executor = self._open[execution_id]
        if executor is not None and executor != client:
            return Claim.NOT_YOURS
        self.settle(execution_id)
        return Claim.FIRST

    def settle(self, execution_id: str) -> None:
        """A call has its answer, whoever gave it."""
        self._answered[execution_id] = self._open.pop(execution_id, None)
        if len(self._answered) > self._limit:
            self._answered.popitem(last=False)

    def handed(self, execution_id: str, connection: str) -> bool:
        """Note that a call is given to this connection; True where it has it already."""
        pair = execution_id, connection
        if pair in self._handed:
            return True
        self._handed[pair] = None
        if len(self._handed) > self._most_handed:
            self._handed.popitem(last=False)
        return False

    def is_open(self, execution_id: str) -> bool:
        """Whether a call has come before and has no answer yet."""
        return execution_id in self._open

    def answered(self, execution_id: str) -> bool:
        return execution_id in self._answered

    def may_begin(self, execution_id: str, client: str) -> bool:
        """Whether a call is still to be carried out, and by this client or by whoever likes."""
        return execution_id in self._open and self._open[execution_id] in (None, client)

    def give_back(self, execution_id: str) -> bool:
        """The answer could not be taken after all: the call is open again, if it had been."""
        if execution_id in self._unasked:
            del self._unasked[execution_id]
            return True
        if execution_id not in self._answered:
            return False
        self._open[execution_id] = self._answered.pop(execution_id)
        return True

    def left(self, client: str) -> list[str]:
        """A client is gone: the calls that it had begun and nobody else may begin again."""
        orphaned = [name for name, executor in self._open.items() if executor == client]
        for execution_id in orphaned:
            self.claim(execution_id, client)
        return orphaned
