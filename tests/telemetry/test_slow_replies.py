"""Which replies are kept as the slowest of the last minute."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.telemetry.slow_replies import KEPT, SlowReplies, SlowReply


def tell(replies: SlowReplies, took_s: float, at: float, name: str = "m") -> bool:
    """Whether it had to be named."""
    named = replies.may_be_one(took_s, at)
    if named:
        replies.add(SlowReply(took_s, at, "chat_send", name, "client_1", "sess_1"))
    return named


@given(
    st.lists(st.tuples(st.floats(0.0, 9.0), st.floats(0.0, 100.0)), max_size=300),
    st.floats(0.0, 10.0),
)
def test_of_any_replies_the_slowest_of_the_last_minute_are_shown(
    told: list[tuple[float, float]], later_s: float
) -> None:
    replies = SlowReplies()
    at = 0.0
    told = [(gap, took) for gap, took in told]
    came = []
    for gap, took_s in told:
        at += gap
        tell(replies, took_s, at)
        came.append((took_s, at))
    shown = replies.slowest(at + later_s)
    assert len(shown) <= KEPT
    recent = sorted((took_s for took_s, when in came if when > at + later_s - 60), reverse=True)
    for had, least in zip([each.took_s for each in shown], recent, strict=False):
        assert had >= least
    assert len(shown) >= min(KEPT, len(recent))
    assert all(at + later_s - each.at <= 70 + 9 for each in shown)


def test_few_of_many_replies_have_to_be_named() -> None:
    chance = random.Random(1)
    replies = SlowReplies()
    named = sum(tell(replies, chance.random(), number / 1000) for number in range(9_000))
    assert named < 100


def test_what_is_over_is_shown_no_longer() -> None:
    replies = SlowReplies()
    tell(replies, 9.0, 5.0, "old")
    tell(replies, 1.0, 80.0, "new")
    assert [each.id for each in replies.slowest(80.0)] == ["new"]
    assert replies.slowest(200.0) == []
