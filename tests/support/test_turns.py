"""Who runs beside whom when the suite has several processes."""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.turns import turn

Turn = Callable[..., contextlib.AbstractContextManager[None]]


@pytest.fixture
def place(tmp_path: Path) -> Turn:
    """A door and a room of our own: those of the suite are taken, by this test."""
    for name in ("door", "room"):
        (tmp_path / name).touch()
    return partial(turn, door=tmp_path / "door", room=tmp_path / "room")


class Guest:
    """Somebody who comes, and stays until told to go."""

    def __init__(self, place: Turn, *, alone: bool) -> None:
        self.inside = threading.Event()
        self._may_go = threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(place, alone), daemon=True)
        self._thread.start()

    def _visit(self, place: Turn, alone: bool) -> None:
        with place(alone=alone):
            self.inside.set()
            assert self._may_go.wait(10.0)

    def leaves(self) -> None:
        self._may_go.set()
        self._thread.join(10.0)


def stands_at(door: Path) -> bool:
    """Whether somebody keeps the door."""
    with door.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_those_who_do_not_measure_are_in_together(place: Turn) -> None:
    guests = [Guest(place, alone=False) for _ in range(3)]
    for guest in guests:
        assert guest.inside.wait(10.0)
    for guest in guests:
        guest.leaves()


def test_who_is_alone_waits_for_the_others_and_is_overtaken_by_nobody(
    place: Turn, tmp_path: Path
) -> None:
    first = Guest(place, alone=False)
    assert first.inside.wait(10.0)
    measures = Guest(place, alone=True)
    wait_until(lambda: stands_at(tmp_path / "door"), "it waits at the door")
    late = Guest(place, alone=False)
    assert not late.inside.wait(0.1)
    assert not measures.inside.is_set()
    first.leaves()
    assert measures.inside.wait(10.0)
    assert not late.inside.wait(0.1)
    measures.leaves()
    assert late.inside.wait(10.0)
    late.leaves()
