from __future__ import annotations

import pytest

from megabot_cli.client.reconnect import STEADY_S, Attempts, Loss, again, given_up
from megabot_cli.errors import (
    ConnectionLost,
    CouldNotConnect,
    MegabotError,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    UpstreamRefused,
)
from megabot_cli.protocol.backoff import FullJitter, Linear


def test_attempts_follow_the_schedule_and_end_with_it() -> None:
    attempts = Attempts(Linear(1.0, 3))
    assert [attempts.next_delay_s(None, 0.5) for _ in range(4)] == [1.0, 2.0, 3.0, None]


def test_without_a_schedule_nothing_is_tried_again() -> None:
    assert Attempts(None).next_delay_s(None, 0.5) is None


def test_a_connection_that_was_of_use_starts_the_count_anew() -> None:
    attempts = Attempts(Linear(1.0, 3))
    attempts.next_delay_s(None, 0.5)
    attempts.stood(0.1, messages=1)
    assert attempts.next_delay_s(None, 0.5) == 1.0
    attempts.stood(STEADY_S, messages=0)
    assert attempts.next_delay_s(None, 0.5) == 1.0


def test_a_connection_that_falls_at_once_does_not() -> None:
    """Else an upstream that greets and drops us would be dialled for ever, five times over."""
    attempts = Attempts(Linear(1.0, 3))
    for delay_s in (1.0, 2.0, 3.0, None):
        attempts.stood(0.1, messages=0)
        assert attempts.next_delay_s(None, 0.5) == delay_s


def test_what_the_upstream_asks_for_is_the_least_we_wait() -> None:
    attempts = Attempts(FullJitter(0.5, 30.0))
    assert attempts.next_delay_s(RateLimited("slow", retry_after_s=12.0), 0.5) == 12.0
    assert attempts.next_delay_s(CouldNotConnect("away"), 1.0) == 1.0


@pytest.mark.parametrize("kind", [NotAuthenticated, NotPermitted])
def test_a_refusal_that_time_does_not_heal_is_not_tried_again(kind: type[MegabotError]) -> None:
    attempts = Attempts(FullJitter())
    fault = kind("no")
    assert attempts.next_delay_s(fault, 0.5) is None
    assert given_up(Loss(1006), fault, "The upstream") is fault


@pytest.mark.parametrize("kind", [CouldNotConnect, RateLimited, UpstreamRefused])
def test_others_are(kind: type[MegabotError]) -> None:
    assert Attempts(FullJitter()).next_delay_s(kind("not now"), 0.5) is not None


@pytest.mark.parametrize(
    ("code", "final"),
    [(1000, True), (4503, True), (4508, True), (1001, False), (1006, False), (1012, False)],
)
def test_some_codes_say_that_we_are_not_wanted_back(code: int, final: bool) -> None:
    assert Loss(code).final is final


def test_giving_up_says_what_was_lost_and_what_the_last_attempt_met() -> None:
    error = given_up(Loss(1012, "update"), CouldNotConnect("Nobody there"), "The upstream")
    assert isinstance(error, ConnectionLost)
    assert error.message == "The connection was lost: service restarts (1012): update"
    assert error.hint == "The last attempt: Nobody there."
    assert error.close_code == 1012


def test_an_error_for_one_more_is_the_same_but_another_object() -> None:
    error = RateLimited("slow", "Wait.", retry_after_s=3.0, close_code=1013)
    other = again(error)
    assert other is not error
    assert (type(other), other.message, other.hint) == (RateLimited, "slow", "Wait.")
    assert (other.retry_after_s, other.close_code) == (3.0, 1013)


def test_a_cut_line_is_told_in_words_that_go_on_from_connection_lost() -> None:
    assert str(Loss(1006)) == "the line was cut (1006)"
