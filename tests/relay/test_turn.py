"""What leaves together, and what need not wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from megabot_cli.relay.turn import Turn


@pytest.fixture
async def turn() -> Turn:
    return Turn(asyncio.get_running_loop())


def noted(written: list[str], name: str) -> Callable[[], None]:
    def write() -> None:
        written.append(name)

    return write


async def test_what_becomes_ready_in_one_turn_is_written_at_its_end_in_order(turn: Turn) -> None:
    written: list[str] = []
    for name in "abc":
        turn.after(noted(written, name))
    assert written == []
    await asyncio.sleep(0)
    assert written == ["a", "b", "c"]


async def test_the_first_of_a_quiet_turn_is_written_early_and_once(turn: Turn) -> None:
    written: list[str] = []
    turn.after(noted(written, "a"))
    turn.write_early()
    assert written == ["a"]
    await asyncio.sleep(0)
    assert written == ["a"]
    assert turn.quiet, "one thing to write was all"


async def test_what_comes_after_it_in_the_same_turn_waits_for_the_end(turn: Turn) -> None:
    written: list[str] = []
    turn.after(noted(written, "a"))
    turn.write_early()
    for name in "bc":
        turn.after(noted(written, name))
        assert not turn.quiet
    assert written == ["a"]
    await asyncio.sleep(0)
    assert written == ["a", "b", "c"]
    assert not turn.quiet, "under load messages leave together"


async def test_after_a_turn_with_one_thing_to_write_it_is_quiet_again(turn: Turn) -> None:
    written: list[str] = []
    for name in "ab":
        turn.after(noted(written, name))
    await asyncio.sleep(0)
    two_are_many = not turn.quiet
    assert two_are_many
    turn.after(noted(written, "c"))
    await asyncio.sleep(0)
    assert turn.quiet
    assert written == ["a", "b", "c"]


async def test_a_read_that_brings_nothing_to_write_spends_nothing(turn: Turn) -> None:
    turn.write_early()
    assert turn.quiet


async def test_what_cannot_be_written_early_keeps_nobody_back(turn: Turn) -> None:
    written: list[str] = []

    def broken() -> None:
        raise ConnectionResetError

    turn.after(broken)
    turn.write_early()
    turn.after(noted(written, "a"))
    await asyncio.sleep(0)
    assert written == ["a"]
