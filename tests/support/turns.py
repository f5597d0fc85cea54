"""Tests of several processes side by side, except those that measure: they have the machine.

Each test holds the room, shared; one marked `alone` holds it for itself. Who wants the room
stands at the door until it is in, so nobody overtakes a test that waits to be alone. Both
are locks on files that exist anyway: they end with whoever holds them, and nothing is left
behind. Waiting for a turn is no part of a test's time.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

DOOR = Path(__file__)
ROOM = Path(__file__).with_name("__init__.py")


@contextlib.contextmanager
def turn(*, alone: bool, door: Path = DOOR, room: Path = ROOM) -> Iterator[None]:
    """Wait for a place among the others, or for the room to be empty; leave it at the end."""
    with room.open() as place:
        with door.open() as threshold:
            fcntl.flock(threshold, fcntl.LOCK_EX)
            fcntl.flock(place, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(threshold, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # Told, not left to the closing: a child that was forked meanwhile holds it as well.
            fcntl.flock(place, fcntl.LOCK_UN)
