"""A link's states, the verdict on its session, and when it dials again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.backoff import FullJitter
from megabot_cli.relay.link_life import LinkLife, LinkState, Verdict


def new_life(session: str | None = None) -> LinkLife:
    return LinkLife(FullJitter(0.5, 30.0), session)


def bring_up(life: LinkLife, session: str | None) -> Verdict:
    life.move(LinkState.AUTHENTICATING)
    life.dial()
    return life.came_up(session)


def test_a_link_without_a_session_comes_up_fresh_and_takes_the_one_it_is_given() -> None:
    life = new_life()
    assert bring_up(life, "sess_1") is Verdict.FRESH
    assert (life.state, life.session_id) == (LinkState.UP, "sess_1")


def test_a_link_that_comes_back_asks_for_its_session() -> None:
    life = new_life()
    bring_up(life, "sess_1")
    life.lost(0.5)
    life.move(LinkState.AUTHENTICATING)
    assert life.dial() == "sess_1"
    assert life.state is LinkState.RESUMING
    assert life.came_up("sess_1") is Verdict.RESUMED


@pytest.mark.parametrize(
    ("named", "verdict", "kept"),
    [
        ("sess_2", Verdict.NEW_SESSION, "sess_2"),
        (None, Verdict.UNKNOWN, "sess_1"),
    ],
)
def test_a_session_that_was_not_resumed_is_never_called_resumed(
    named: str | None, verdict: Verdict, kept: str
) -> None:
    life = new_life("sess_1")
    assert bring_up(life, named) is verdict
    assert life.session_id == kept


def test_a_link_that_never_had_a_name_for_its_session_comes_back_to_nobody_knows_what() -> None:
    life = new_life()
    assert bring_up(life, None) is Verdict.FRESH
    life.lost(0.5)
    assert bring_up(life, None) is Verdict.UNKNOWN


def test_coming_up_starts_the_schedule_anew() -> None:
    life = new_life()
    life.move(LinkState.AUTHENTICATING)
    delays = [life.lost(1.0)]
    life.move(LinkState.AUTHENTICATING)
    delays.append(life.lost(1.0))
    bring_up(life, "sess_1")
    delays.append(life.lost(1.0))
    assert delays == [0.5, 1.0, 0.5]


def test_a_refused_credential_is_tried_again_soon_however_many_dials_failed_before() -> None:
    life = new_life()
    bring_up(life, "sess_1")
    for chance in (1.0, 1.0, 1.0, 1.0, 1.0):
        life.lost(chance)
        life.move(LinkState.AUTHENTICATING)
    assert life.refused(1.0) == pytest.approx(0.6)
    life.move(LinkState.AUTHENTICATING)
    assert life.refused(0.0) == pytest.approx(0.2)


def test_an_upstream_that_says_when_to_come_back_is_obeyed() -> None:
    life = new_life()
    life.move(LinkState.AUTHENTICATING)
    assert life.lost(0.1, retry_after_s=12.0) == 12.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_any_run_of_failures_waits_no_longer_than_the_cap(chances: list[float]) -> None:
    life = new_life()
    for chance in chances:
        life.move(LinkState.AUTHENTICATING)
        assert 0 <= life.lost(chance) <= 30.0


def test_a_step_that_the_table_does_not_show_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match="does not lead to"):
        new_life().move(LinkState.UP)
