from __future__ import annotations

import pytest

from megabot_cli.client.received import Received
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.correlator import Correlator
from megabot_cli.recording.rewriting import IdMap
from megabot_cli.replay.arrivals import Arrivals, PlainAnswers
from megabot_cli.replay.lane import Lane
from tests.replay.texts import answer, chunk, questions, say


def asked_again(*texts: str) -> tuple[dict[int, Answer], Arrivals, Lane]:
    """A question that these answered when it was recorded, and a lane on which it was sent."""
    correlator = Correlator()
    correlator.sent(0, "m1", say("hello", "m1"))
    for at, text in enumerate(texts):
        correlator.came(text, float(at))
    arrivals = Arrivals(correlator.answers, PlainAnswers(questions(1), correlator.answers))
    lane = Lane(arrivals, IdMap(lambda _: "fresh"))
    lane.sending("c1", 0, "m1", say("hello", "m1"), awaited=True)
    return correlator.answers, arrivals, lane


def hear(lane: Lane, text: str, *, together: bool) -> None:
    if together:
        lane.heard_texts("c1", [text.encode()], 1.0)
    else:
        lane.heard("c1", Received(text, peek(text), 1.0), 1.0)


@pytest.mark.parametrize("together", [True, False])
def test_an_answer_as_it_was_recorded_takes_no_memory_of_its_own(together: bool) -> None:
    recorded, arrivals, lane = asked_again(
        chunk("hel", 1, reply_to="m1"),
        chunk("lo", 2, last=True, reply_to="m1"),
        answer("hello", reply_to="m1"),
    )
    hear(lane, chunk("hello", 1, last=True, reply_to="m1"), together=together)
    assert lane.outstanding == {0}
    hear(lane, answer("hello", reply_to="m1"), together=together)
    assert lane.outstanding == set()
    assert all(now is then for now, then in zip(arrivals[0].parts, recorded[0].parts, strict=True))
    hear(lane, answer("and more", reply_to="m1"), together=together)
    assert (len(arrivals[0].parts), len(recorded[0].parts)) == (3, 2)
