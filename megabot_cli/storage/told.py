"""What is told of a record that is to be written, and how it waits for that: the same for all who
keep some."""

from __future__ import annotations

import threading
from typing import Any, Final, TypedDict

# A tuple, because making one is the cheapest thing Python can do. Of a message, where it is
# made between two others: (at_ns, kind, direction, client, link, session, opcode, data); what
# its envelope says is read here, where nobody waits. Of anything else: (at_ns, kind, direction,
# client, link, session, user, id, type, reply_to, opcode, data, code, reason, by, note, size,
# redacted). `client` may be `ASKER`.
Item = tuple[Any, ...]
OF_MESSAGE: Final = 8
_DATA: Final = 11


class Told(TypedDict, total=False):
    """The fields of a record (see `man 5 megabot-recording`), but for what the writer adds.

    `data` is the exact text that travelled, or the bytes with `opcode="binary"`; `size` and
    `redacted` are for what was a record before, when that is no longer so.
    """

    direction: str | None
    client: str | None
    link: str | None
    session: str | None
    user: str | None
    id: str | None
    type: str | None
    reply_to: str | None
    opcode: str | None
    data: bytes | str | None
    code: int | None
    reason: str | None
    by: str | None
    note: str | None
    size: int | None
    redacted: list[str] | None


FIELDS: Final = tuple(Told.__annotations__)


def item_of(at_ns: int, kind: str, told: Told) -> tuple[Any, ...]:
    """The item that waits to be written (`Item`)."""
    return (at_ns, kind, *map(told.get, FIELDS))


class Gap:
    """Records dropped in a row: grows on the thread that puts, until the writer takes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._lost = 0
        self._lost_bytes = 0

    def lose(self, size: int) -> bool:
        """Count one more; False when the gap was written already and a new one must begin."""
        with self._lock:
            if not self._taken:
                self._lost += 1
                self._lost_bytes += size
            return not self._taken

    def lose_many(self, records: int, size: int) -> None:
        with self._lock:
            self._lost += records
            self._lost_bytes += size

    def take(self) -> tuple[int, int]:
        """End the gap; return the records and the payload bytes lost in it."""
        with self._lock:
            self._taken = True
            return self._lost, self._lost_bytes


def queued_size(item: Item) -> int:
    """What an item's payload counts for while it waits."""
    data = payload_of(item)
    if isinstance(data, list):
        return sum(map(len, data))
    return 0 if data is None or isinstance(data, Gap) else len(data)


def is_bundle(item: Item) -> bool:
    """Whether it stands for several messages that came together: their `data` is a list."""
    return len(item) == OF_MESSAGE and type(item[-1]) is list


def records_in(items: list[Item]) -> int:
    """How many records items will make."""
    return len(items) + sum(len(item[-1]) - 1 for item in items if is_bundle(item))


def payload_of(item: Item) -> Any:
    """What travelled, or the `Gap`."""
    return item[_DATA] if len(item) > OF_MESSAGE else item[-1]


def gap_item(at_ns: int, gap: Gap) -> Item:
    return (at_ns, "gap", *([None] * 9), gap, *([None] * 6))
