"""A session's last messages: what a client that comes back has missed, or why nobody knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.config.schema import RelaySettings
from megabot_cli.relay.engine import SessionRing
from megabot_cli.relay.ring import Numbered
from tests.relay.engines import engine_under_test, new_engine

__all__ = ["engine_under_test"]


def ring(messages: int = 100, size_bytes: int = 10_000, age_s: float = 600.0) -> SessionRing:
    settings = RelaySettings(ring_messages=messages, ring_bytes=size_bytes, ring_age_s=age_s)
    return new_engine().open_ring("epoch_1", settings)


def filled(count: int, **bounds: float) -> SessionRing:
    kept = ring(**bounds)  # type: ignore[arg-type]
    for number in range(1, count + 1):
        kept.add(f"message {number}".encode(), now=float(number))
    return kept


def missed(
    kept: SessionRing, cursor: str, name: str = "ada", now: float = 0.0
) -> list[int] | str | None:
    recovery = kept.since(cursor, name, now)
    return recovery.reason or [message.seq for message in recovery.messages]


def test_messages_are_numbered_from_one_and_the_cursor_names_the_newest() -> None:
    kept = filled(3)
    assert kept.top == 3
    assert kept.cursor() == "epoch_1:3"


def test_a_client_gets_exactly_what_came_after_its_cursor() -> None:
    assert missed(filled(5), "epoch_1:3") == [4, 5]


def test_the_cursor_of_the_newest_message_always_succeeds() -> None:
    kept = filled(5, messages=2)
    assert missed(kept, "epoch_1:5") == []
    assert missed(kept, "epoch_1:5", now=1e9) == []  # all has aged out
    assert missed(ring(), "epoch_1:0") == []


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ("epoch_1:3", [4, 5]),  # oldest kept is 4: the one before it is enough
        ("epoch_1:2", "too_old"),
        ("epoch_1:6", "ahead"),
        ("epoch_2:4", "other_epoch"),
        ("epoch_1:", "not_a_cursor"),
        ("epoch_1:-1", "not_a_cursor"),
        ("epoch_1:٣", "not_a_cursor"),
        ("epoch_1:" + "9" * 5000, "not_a_cursor"),
        ("7", "other_epoch"),
        ("", "not_a_cursor"),
    ],
)
def test_at_the_edges_of_what_is_kept(cursor: str, expected: list[int] | str) -> None:
    assert missed(filled(5, messages=2), cursor) == expected


def test_what_is_too_old_in_seconds_is_gone() -> None:
    kept = filled(5, age_s=3.0)  # kept at 1 s … 5 s
    assert missed(kept, "epoch_1:2", now=6.0) == [3, 4, 5]
    assert missed(kept, "epoch_1:2", now=6.5) == "too_old"


def test_what_is_for_one_client_is_given_to_no_other() -> None:
    kept = ring()
    kept.add(b"for all", now=0.0)
    kept.add(b"for ada", now=0.0, to="ada")
    kept.add(b"for bob", now=0.0, to="bob")
    assert missed(kept, "epoch_1:0", "ada") == [1, 2]
    assert missed(kept, "epoch_1:0", "bob") == [1, 3]


def test_after_a_new_session_no_cursor_of_before_is_good() -> None:
    kept = filled(5)
    kept.begin_epoch("epoch_2")
    assert missed(kept, "epoch_1:5") == "other_epoch"
    assert missed(kept, "epoch_2:5") == []
    assert kept.add(b"first", now=9.0) == 6  # a number of before is none of this epoch
    assert missed(kept, "epoch_2:5") == [6]
    assert missed(kept, "epoch_2:4") == "too_old"


@given(
    sizes=st.lists(st.integers(0, 400), max_size=60),
    most=st.integers(1, 20),
    most_bytes=st.integers(1, 1000),
)
def test_the_bounds_hold_and_what_is_recovered_has_no_hole(
    sizes: list[int], most: int, most_bytes: int
) -> None:
    kept = ring(messages=most, size_bytes=most_bytes)
    for size in sizes:
        kept.add(b"x" * size, now=0.0)
        assert len(kept) <= most
        assert kept.kept_bytes <= most_bytes
    for seq in range(len(sizes) + 1):
        found = missed(kept, f"epoch_1:{seq}")
        assert found == "too_old" or found == list(range(seq + 1, len(sizes) + 1))


def test_its_texts_are_what_is_kept_oldest_first_whomever_they_are_for() -> None:
    kept = ring(messages=3)
    for number, (binary, to) in enumerate([(False, None), (True, None), (False, "ada")] * 2):
        kept.add(f"message {number}".encode(), float(number), binary, to)
    assert kept.texts() == [b"message 3", b"message 5"]


def test_messages_that_came_together_are_kept_as_if_each_had_come_alone() -> None:
    alone, together = ring(messages=4, size_bytes=60), ring(messages=4, size_bytes=60)
    batch: list[Numbered] = [(number, 1.0, b"x" * 9, False, None) for number in range(1, 9)]
    for _, at, data, binary, to in batch:
        alone.add(data, at, binary, to)
    together.extend(batch[:1])
    together.extend(batch[1:])
    assert together.top == alone.top == 8
    assert together.kept_bytes == alone.kept_bytes == 36
    assert together.since("epoch_1:4", "ada", 1.0) == alone.since("epoch_1:4", "ada", 1.0)
