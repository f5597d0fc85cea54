"""What any engine promises of leases and of the pace of dialling."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.relay.engines import engine_under_test, new_engine

__all__ = ["engine_under_test"]

names = st.sampled_from(["one", "two", "three"])


def test_who_claims_first_holds_the_lease_until_it_is_released() -> None:
    engine = new_engine()
    assert engine.holder("prod", "sess_1") is None
    assert engine.claim("prod", "sess_1", "link_a") == "link_a"
    assert engine.claim("prod", "sess_1", "link_b") == "link_a"
    assert engine.claim("prod", "sess_1", "link_a") == "link_a"
    assert engine.holder("prod", "sess_1") == "link_a"
    engine.release("prod", "link_a")
    assert engine.holder("prod", "sess_1") is None
    assert engine.claim("prod", "sess_1", "link_b") == "link_b"


def test_a_session_of_another_identity_is_another_session() -> None:
    engine = new_engine()
    engine.claim("prod", "sess_1", "link_a")
    assert engine.claim("staging", "sess_1", "link_b") == "link_b"
    engine.release("staging", "link_b")
    assert engine.holder("prod", "sess_1") == "link_a"


def test_releasing_what_is_not_held_changes_nothing() -> None:
    engine = new_engine()
    engine.claim("prod", "sess_1", "link_a")
    engine.claim("prod", "sess_1", "link_b")
    engine.release("prod", "link_b")
    engine.release("prod", "nobody")
    assert engine.holder("prod", "sess_1") == "link_a"


@given(st.lists(st.tuples(st.sampled_from(["claim", "release"]), names, names), max_size=30))
def test_whatever_happens_a_session_has_one_holder_who_claimed_it(
    deeds: list[tuple[str, str, str]],
) -> None:
    engine = new_engine()
    expected: dict[str, str] = {}
    for deed, session, holder in deeds:
        if deed == "claim":
            expected.setdefault(session, holder)
            assert engine.claim("prod", session, holder) == expected[session]
        else:
            expected = {each: owner for each, owner in expected.items() if owner != holder}
            engine.release("prod", holder)
        for each in ("one", "two", "three"):
            assert engine.holder("prod", each) == expected.get(each)


def dials(times: list[float]) -> list[float]:
    return [round(after - before, 6) for before, after in itertools.pairwise(times)]


def dial_all(count: int, *, well: bool) -> list[float]:
    """When so many links that all want in at once get their turns."""
    engine, now = new_engine(), 0.0
    times: list[float] = []
    while len(times) < count:
        wait_s = engine.dial_wait_s("prod", now)
        if wait_s > 0:
            now += wait_s
        else:
            times.append(now)
            engine.dial_ended("prod", now, well=well)
    return times


def test_an_upstream_that_is_away_is_dialled_at_most_once_a_second_by_all_links() -> None:
    assert dials(dial_all(5, well=False)) == [1.0] * 4


def test_one_that_lets_us_in_is_dialled_ten_times_a_second() -> None:
    assert dials(dial_all(5, well=True)) == [0.1] * 4


def test_the_first_success_quickens_the_pace_for_all() -> None:
    engine = new_engine()
    assert engine.dial_wait_s("prod", 0.0) == 0
    engine.dial_ended("prod", 0.0, well=False)
    assert engine.dial_wait_s("prod", 0.5) == 0.5
    assert engine.dial_wait_s("prod", 1.0) == 0
    engine.dial_ended("prod", 1.2, well=True)
    assert engine.dial_wait_s("prod", 1.2) == pytest.approx(0.1)


def test_while_the_upstream_is_well_the_first_dial_of_a_link_waits_for_nobody() -> None:
    engine = new_engine()
    assert [engine.dial_wait_s("prod", 0.0, first=True) for _ in range(5)] == [0.0] * 5
    engine.dial_ended("prod", 0.0, well=False)
    assert engine.dial_wait_s("prod", 0.0, first=True) == 1.0
    assert engine.dial_wait_s("prod", 1.0, first=True) == 0.0
    assert engine.dial_wait_s("prod", 1.0, first=True) == 1.0
    engine.dial_ended("prod", 1.1, well=True)
    assert [engine.dial_wait_s("prod", 1.1, first=True) for _ in range(5)] == [0.0] * 5


@pytest.mark.parametrize("first", [True, False])
def test_an_upstream_that_asks_to_be_left_alone_is_left_alone_by_all_links(first: bool) -> None:
    engine = new_engine()
    engine.dial_ended("prod", 0.0, well=False, retry_after_s=20.0)
    engine.dial_ended("prod", 1.0, well=False, retry_after_s=5.0)
    engine.dial_ended("prod", 2.0, well=True)  # one that was under way
    assert engine.dial_wait_s("prod", 2.0, first=first) == engine.left_alone_s("prod", 2.0) == 18
    assert engine.dial_wait_s("prod", 20.0, first=first) == engine.left_alone_s("prod", 20.0) == 0


def test_who_looks_when_the_next_turn_is_takes_none() -> None:
    engine = new_engine()
    assert engine.next_turn_s("prod", 0.0) == 0
    assert engine.dial_wait_s("prod", 0.0) == 0
    engine.dial_ended("prod", 0.0, well=False)
    assert [engine.next_turn_s("prod", at) for at in (0.0, 0.25, 1.0, 1.0)] == [1.0, 0.75, 0, 0]
    engine.dial_ended("prod", 1.0, well=False, retry_after_s=20.0)
    assert engine.next_turn_s("prod", 1.0) == 20.0
    assert engine.dial_wait_s("prod", 21.0) == 0


def test_identities_do_not_wait_for_each_other() -> None:
    engine = new_engine()
    engine.dial_wait_s("prod", 0.0)
    engine.dial_ended("prod", 0.0, well=False)
    assert engine.dial_wait_s("staging", 0.0) == 0
