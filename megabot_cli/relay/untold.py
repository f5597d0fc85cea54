"""Errors for clients that were away when these happened: they hear them when they come back."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

MOST_FOR_EACH = 100  # as many as may wait while a link is down


class Untold(msgspec.Struct, frozen=True):
    """What an absent client would have been answered."""

    message_id: str | None
    code: int
    error: str
    message: str


class UntoldErrors:
    """By the name of a client that has left and may come back; the latest `most_clients`."""

    def __init__(self, most_clients: int) -> None:
        self._most_clients = most_clients
        self._kept: OrderedDict[str, list[Untold]] = OrderedDict()

    def expect(self, name: str) -> None:
        """A client has left that can come back by this name."""
        self._kept.setdefault(name, [])
        self._kept.move_to_end(name)
        if len(self._kept) > self._most_clients:
            self._kept.popitem(last=False)

    def keep(self, name: str, untold: Untold) -> None:
        """Nothing of it, if nobody can come back by that name, or it has too many already."""
        kept = self._kept.get(name)
        if kept is not None and len(kept) < MOST_FOR_EACH:
            kept.append(untold)

    def take(self, name: str) -> list[Untold]:
        return self._kept.pop(name, [])
