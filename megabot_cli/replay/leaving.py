"""A message counts as sent when it has left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Leaving:
    """The messages of a client that leave next, in their order: called when so many are written,
    it notes the time.

    What does not leave after all is as if it had never been sent.
    """

    __slots__ = ("_left", "_places", "_sent_at")

    def __init__(self, sent_at: dict[int, float], places: Sequence[int]) -> None:
        self._sent_at = sent_at
        self._places = places
        self._left = 0

    def __call__(self, count: int = 1) -> None:
        leaving = self._places[self._left : self._left + count]
        self._left += count
        self._sent_at.update(dict.fromkeys(leaving, time.monotonic()))

    @contextmanager
    def or_not(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._left:  # of those before it is known that they left
                self._sent_at.pop(self._places[self._left - 1], None)
            raise
