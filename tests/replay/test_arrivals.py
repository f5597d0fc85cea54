"""What is noted in few words is what would have been kept whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from megabot_cli.client.received import Received
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.correlator import Correlator
from megabot_cli.recording.rewriting import IdMap
from megabot_cli.replay.arrivals import Arrivals, PlainAnswers
from megabot_cli.replay.judging import times
from megabot_cli.replay.lane import Lane
from megabot_cli.storage.kept_texts import KeptTexts
from tests.recording.arbitrary import thorough
from tests.replay.texts import answer, chunk, message, questions, refusal, say

_QUESTIONS = 3
_BROKEN = "no message"

# A reply of each kind; `more` is its id, and what it answers.
_KINDS: list[Callable[..., str]] = [
    partial(answer, "yes"),
    partial(answer, "no"),
    partial(chunk, "yes", 1, last=True),
    partial(chunk, "ye", 1),
    partial(refusal, "rate_limited"),
    partial(message, "tool_result", {"execution_id": "e1", "result": 1}),
    partial(message, "something_new", {"execution_id": "e1"}),
    partial(message, "something_new", {"content": "yes", "sender": "assistant"}),
    partial(message, "something_new", {"a": "\\"}),
    partial(message, "something_new", None),
    partial(message, "status_update", {"progress": 1}),
    partial(message, "notification", {"title": "hm"}),
    partial(message, "status", {"mode": "fast"}),
    lambda **_more: "no message at all",
]


class Spec(NamedTuple):
    """A reply of a kind, with an id, in answer to a question, or to none it names."""

    kind: int
    number: int
    question: int | None

    def said(self, prefix: str) -> str:
        named = None if self.question is None else f"{prefix}{self.question}"
        return _KINDS[self.kind](message_id=f"up_{self.number}", reply_to=named)


_ordinary = st.builds(
    Spec, st.sampled_from([0, 0, 1, 7]), st.integers(0, 50), st.integers(0, _QUESTIONS - 1)
)
_nameless = st.builds(Spec, st.sampled_from([0, 0, 1, 7]), st.integers(0, 50), st.none())
_odd = st.builds(
    Spec,
    st.integers(0, len(_KINDS) - 1),
    st.integers(0, 3),
    st.none() | st.integers(0, _QUESTIONS),
)


@st.composite
def talks(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """What came when it was recorded, and what comes now: much of it the same."""
    then = draw(
        st.lists(draw(st.sampled_from([_ordinary, _nameless, _ordinary | _odd])), max_size=6)
    )
    now = list(then)
    for place in draw(st.lists(st.integers(0, 6), max_size=3)):
        now[place:place] = draw(st.lists(_ordinary | _nameless | _odd, max_size=1)) + now[:1]
    return said(then, now)


def said(then: list[Spec], now: list[Spec]) -> tuple[list[str], list[str]]:
    return [each.said("old") for each in then], [each.said("new") for each in now]


# What the quick way must not take, for it is another's, or more than it looks.
_SAID_AGAIN = said(
    [Spec(0, 1, None), Spec(0, 2, None)], [Spec(0, 1, None), Spec(2, 2, 0), Spec(0, 3, None)]
)
_NAMES_AN_EXCHANGE = said([Spec(6, 1, None)], [Spec(6, 1, 0), Spec(5, 2, None)])
_OF_AN_EXCHANGE = said([Spec(5, 1, None)], [Spec(6, 1, 1), Spec(5, 2, None)])
_UNASKED = said([Spec(11, 1, 0)], [Spec(11, 1, None)])
_OF_THE_NAMELESS = said([Spec(4, 1, 0), Spec(4, 2, None)], [Spec(4, 2, None), Spec(4, 1, 0)])
_GOES_ON = said([Spec(7, 1, None)], [Spec(7, 1, None), Spec(3, 2, 0), Spec(7, 3, None)])
_OTHER_TYPE = said([Spec(0, 1, 0)], [Spec(7, 1, 0)])


def asked(correlator: Correlator, heard: list[str]) -> dict[int, Answer]:
    """Questions, and what no reply can name."""
    for place in range(_QUESTIONS):
        correlator.sent(place, f"old{place}", say("hello?", f"old{place}"))
    correlator.sent(_QUESTIONS, None, _BROKEN)
    for at, text in enumerate(heard):
        correlator.came(text, float(at))
    return correlator.answers


def lane_of(recorded: dict[int, Answer], *, aside: bool = False) -> tuple[Arrivals, Lane]:
    """A lane on which all have been sent, the questions plainly."""
    if aside:
        put_aside(recorded, KeptTexts(0))
    arrivals = Arrivals(recorded, PlainAnswers(questions(_QUESTIONS), recorded))
    lane = Lane(arrivals, IdMap(lambda _: "fresh"))
    places = range(_QUESTIONS)
    lane.sending_plainly("c1", places, [f"new{place}" for place in places], places)
    lane.sending("c1", _QUESTIONS, None, _BROKEN, awaited=False)
    return arrivals, lane


def put_aside(recorded: Mapping[int, Answer], kept: KeptTexts) -> None:
    for recorded_answer in recorded.values():
        for part in recorded_answer.parts:
            part.put_aside(kept)


def told(arrivals: Arrivals, lane: Lane) -> dict[str, Any]:
    """All that a replay asks of them afterwards."""
    took = times(arrivals, dict.fromkeys(range(_QUESTIONS + 1), 0.0))
    return {
        "counts": (lane.replies, lane.unasked, sorted(lane.outstanding)),
        "times": {name: sorted(values) for name, values in took.items()},
        "answers": [
            (
                [
                    (part.type, part.stream and part.stream.text, msgspec.json.encode(part.payload))
                    for part in arrivals[place].parts
                ],
                arrivals[place].ended,
                arrivals[place].is_whole,
                arrivals[place].messages,
                arrivals[place].first_at,
                arrivals[place].last_at,
            )
            for place in range(_QUESTIONS + 1)
        ],
    }


@thorough
@example(_SAID_AGAIN, [], True)
@example(_SAID_AGAIN, [], False)
@example(_NAMES_AN_EXCHANGE, [], True)
@example(_NAMES_AN_EXCHANGE, [], False)
@example(_OF_AN_EXCHANGE, [], True)
@example(_OF_AN_EXCHANGE, [], False)
@example(_UNASKED, [], True)
@example(_UNASKED, [], False)
@example(_OF_THE_NAMELESS, [], True)
@example(_OF_THE_NAMELESS, [], False)
@example(_GOES_ON, [1, 1, 1], True)
@example(_GOES_ON, [1, 1, 1], False)
@example(_OTHER_TYPE, [], True)
@example(_OTHER_TYPE, [], False)
@given(talks(), st.lists(st.integers(1, 4), max_size=8), st.booleans())
def test_messages_that_come_together_are_heard_as_one_by_one(
    talk: tuple[list[str], list[str]],
    together: list[int],
    aside: bool,
) -> None:
    recorded, heard = talk
    quick, quick_lane = lane_of(asked(Correlator(), recorded), aside=aside)
    whole, whole_lane = lane_of(asked(Correlator(), recorded))
    rest, at = list(heard), 0.0
    for count in [*together, len(heard)]:
        at += 1.0
        texts, rest = rest[:count], rest[count:]
        quick_lane.heard_texts("c1", [text.encode() for text in texts], at)
        for text in texts:
            whole_lane.heard("c1", Received(text, peek(text), at), at)
    assert told(quick, quick_lane) == told(whole, whole_lane)


@pytest.mark.parametrize("aside", [False, True])
def test_an_answer_as_it_was_recorded_is_no_object_until_somebody_asks_for_it(
    aside: bool,
) -> None:
    for named in (True, False):
        then = [answer("yes", reply_to=f"old{n}" if named else None) for n in range(_QUESTIONS)]
        now = [answer("yes", reply_to=f"new{n}" if named else None) for n in range(_QUESTIONS)]
        arrivals, lane = lane_of(asked(Correlator(), then), aside=aside)
        lane.heard_texts("c1", [text.encode() for text in now], 2.0)
        assert arrivals.as_recorded == dict.fromkeys(range(_QUESTIONS), 2.0)
        assert arrivals.keys() == {_QUESTIONS}
        assert lane.outstanding == set()
        assert [part.payload["content"] for part in arrivals[2].parts] == ["yes"]
        assert 2 not in arrivals.as_recorded
        lane.heard_texts("c1", [answer("and more", reply_to="new2").encode()], 3.0)
        assert (len(arrivals[2].parts), arrivals[2].first_at, arrivals[2].last_at) == (2, 2.0, 3.0)
        assert len(arrivals.recorded[2].parts) == 1


def test_whether_a_reply_is_what_was_recorded_is_told_without_the_file_that_keeps_it() -> None:
    yes = "yes" * 30_000  # more than is read at once
    recorded = asked(Correlator(), [answer(yes, reply_to=f"old{n}") for n in range(_QUESTIONS)])
    kept = KeptTexts(0, at_once_bytes=1)
    put_aside(recorded, kept)
    arrivals, lane = lane_of(recorded)
    kept.close()
    replies = [answer(yes, reply_to=f"new{n}").encode() for n in range(_QUESTIONS)]
    lane.heard_texts("c1", replies, 2.0)
    assert arrivals.as_recorded == dict.fromkeys(range(_QUESTIONS), 2.0)
