"""A message counts as sent when it has left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Leaving:
    """The message of a client that leaves next: called when it is written, it notes the time.

    What does not leave after all is as if it had never been sent.
    """

    __slots__ = ("_sent_at", "place")

    def __init__(self, sent_at: dict[int, float]) -> None:
        self._sent_at = sent_at
        self.place = 0

    def __call__(self) -> None:
        self._sent_at[self.place] = time.monotonic()

    @contextmanager
    def or_not(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._sent_at.pop(self.place, None)
            raise
