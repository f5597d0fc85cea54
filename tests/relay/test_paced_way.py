"""The way up of a pair under the rate limit: in order, and its sender braked at a bound."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from megabot_cli.protocol.frames import BINARY, TEXT
from megabot_cli.relay.paced_way import PacedWay

HEAD = 6  # bytes of a short frame's: its mask is of zeros here, and changes nothing
BATCH_OF_4 = b'{"type":"batch","payload":{"messages":[1,2,3,4]}}'


class Clock:
    """A loop whose time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> object:
        due = (self.now + delay_s, call)
        self.due.append(due)
        return SimpleNamespace(cancel=lambda: self.due.remove(due))

    def tick(self) -> None:
        """Go on to what is due next."""
        self.now, call = self.due.pop(0)
        call()


class Road:
    """Where the frames go, what they hold, and the brake on who sends them."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.held = False
        self.brakes = 0

    def add(self, frames: list[bytes]) -> None:
        self.sent += [frame[HEAD:] for frame in frames]

    def brake(self) -> None:
        self.brakes += 1


def paced(**limits: float) -> tuple[PacedWay, Road, Clock]:
    clock, road = Clock(), Road()
    parts: Any = SimpleNamespace(
        loop=clock,
        limits=SimpleNamespace(**limits),
        numbers=SimpleNamespace(rate_limit_waits=0),
        masks=SimpleNamespace(take=lambda: bytes(4)),
    )
    way: Any = road
    return PacedWay(parts, way, lambda data, _: data), road, clock


def test_the_sender_is_braked_when_as_many_wait_as_may_and_until_fewer_do() -> None:
    way, road, clock = paced(messages_per_second=1, burst=1, queue=2)
    way.add(b"0", TEXT)
    way.add(b"1", TEXT)
    assert (road.sent, road.held, road.brakes) == ([b"0"], False, 0)
    way.add(b"2", BINARY)
    assert (road.sent, road.held, road.brakes) == ([b"0"], True, 1)
    clock.tick()
    assert (road.sent, road.held, len(way)) == ([b"0", b"1"], False, 1)
    assert way.stop() == [(b"2", True)]
    assert not clock.due


def test_nothing_overtakes_what_waits_and_a_batch_is_paid_for_afterwards() -> None:
    way, road, clock = paced(messages_per_second=1, burst=1, queue=10)
    way.add(BATCH_OF_4, TEXT)
    way.add(b"waits", TEXT)
    clock.now = 9.0  # there is a token, but who came before has not taken it yet
    way.add(b"waits too", TEXT)
    assert road.sent == [BATCH_OF_4]
    clock.tick()
    assert 3.99 < clock.now < 4.01  # of the batch three are still to be paid for, and then one
    assert road.sent == [BATCH_OF_4, b"waits"]
    clock.tick()
    assert road.sent == [BATCH_OF_4, b"waits", b"waits too"]
    assert way.stop() == []
