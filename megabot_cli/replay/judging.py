"""From the answers of a replay to verdicts and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from megabot_cli.recording.answers import Answer
from megabot_cli.replay.arrivals import Arrivals
from megabot_cli.replay.compare import SAME, Comparer, Comparison, Verdict
from megabot_cli.replay.junit import Case
from megabot_cli.replay.options import Expectation
from megabot_cli.replay.recorded_message import RecordedMessage
from megabot_cli.replay.report import MOST_DIFFERENCES, Difference, Timing, fails, first_of
from megabot_cli.replay.spread import Spread


class Judgement(msgspec.Struct):
    """How many answers got which verdict, the first that were not the same, those before others
    that are not what was expected, and how many these are."""

    counts: dict[Verdict, int]
    uncompared: int
    differences: list[Difference]
    failed: int = 0
    cases: list[Case] = []


def judge(
    messages: Sequence[RecordedMessage],
    sent_at: Mapping[int, float],
    replayed: Arrivals,
    comparer: Comparer,
    expect: Expectation,
    *,
    with_cases: bool = True,
) -> Judgement:
    """Compare the answer of every message with the recorded one; `sent_at` has their places.

    A message that went out with a pseudonym for its secret said something else than when it
    was recorded: its answer need not be the same word for word.
    """
    judgement = Judgement(dict.fromkeys(Verdict, 0), 0, [])
    same, as_recorded = 0, replayed.as_recorded
    failing: list[Difference] = []
    allowed: list[Difference] = []
    if not with_cases:  # nobody wants to know of each that is the same
        others = sent_at.keys() - as_recorded.keys()
        rest = [message for message in messages if message.place in others] if others else []
        same, messages = len(messages) - len(rest), rest
    for message in messages:
        place = message.place
        if not message.compared:
            judgement.uncompared += 1
            continue
        found: Comparison | None = SAME
        if place not in as_recorded:
            then, now = replayed.recorded[place], replayed[place]
            found = comparer.compare(then, now, broken_off=message.broken_off)
        if found is None:
            judgement.uncompared += 1
            continue
        if found.verdict is Verdict.SAME:
            same += 1
            if with_cases:
                judgement.cases.append(Case(_name(message), Verdict.SAME))
            continue
        judgement.counts[found.verdict] += 1
        at_most = "shape" if message.redacted and expect == "exact" else expect
        failed = fails(found.verdict, at_most)
        if with_cases:
            judgement.cases.append(Case(_name(message), found.verdict, _told(found), failed))
        judgement.failed += failed
        told = failing if failed else allowed
        if len(told) < MOST_DIFFERENCES:
            told.append(_difference(message, found, failed=failed))
    judgement.differences = first_of(failing + allowed)
    judgement.counts[Verdict.SAME] = same
    return judgement


def _name(message: RecordedMessage) -> str:
    return f"record {message.n}: {message.type or 'message'} of {message.client}"


def _told(found: Comparison) -> str:
    if not found.recorded and not found.replayed:
        return found.detail
    return f"{found.detail}\nrecorded: {found.recorded}\nnow: {found.replayed}"


def _difference(message: RecordedMessage, found: Comparison, *, failed: bool) -> Difference:
    return Difference(
        n=message.n,
        client=message.client,
        type=message.type,
        verdict=found.verdict,
        detail=found.detail,
        recorded=found.recorded,
        replayed=found.replayed,
        failed=failed,
    )


def times(answers: Arrivals, sent_at: Mapping[int, float]) -> dict[str, list[float]]:
    """How long answers took, in milliseconds: to the first message of each and to the last.
    What broke off has no last one.

    Both are in seconds on one clock.
    """
    as_recorded = answers.as_recorded
    if list(as_recorded) == list(sent_at):  # each after the other: none need be looked up
        pairs = zip(as_recorded.values(), sent_at.values(), strict=True)
        at_once = [(came - at) * 1000 for came, at in pairs]
    else:
        at_once = [
            (came - at) * 1000
            for place, at in sent_at.items()
            if (came := as_recorded.get(place)) is not None
        ]
    first, total = at_once, at_once[:]
    if len(at_once) < len(sent_at):
        for place, at in sent_at.items():
            if (answer := answers.get(place)) is not None and answer.first_at is not None:
                first.append((answer.first_at - at) * 1000)
                if answer.last_at is not None and answer.is_whole:
                    total.append((answer.last_at - at) * 1000)
    return {"first_chunk_ms": first, "total_ms": total}


def recorded_times(
    messages: Sequence[RecordedMessage], answers: Mapping[int, Answer]
) -> dict[str, list[float]]:
    """As `times`, of when it was recorded. `answers` go by the message's place."""
    return {
        "first_chunk_ms": [
            at * 1000 - message.t / 1000
            for message in messages
            if (at := answers[message.place].first_at) is not None
        ],
        "total_ms": [
            at * 1000 - message.t / 1000
            for message in messages
            if (answer := answers[message.place]).is_whole and (at := answer.last_at) is not None
        ],
    }


class RecordedTimes:
    """How the times of what was recorded are spread. Of all `messages` it is found out at once,
    before any time of a replay counts, and once for all rounds."""

    def __init__(self, messages: Sequence[RecordedMessage], answers: Mapping[int, Answer]) -> None:
        self._answers = answers
        self._count = len(messages)
        self._of_all = self._spread(messages)

    def of(self, messages: Sequence[RecordedMessage]) -> Mapping[str, Spread]:
        """By name, in milliseconds, of those that a round has sent."""
        return self._of_all if len(messages) == self._count else self._spread(messages)

    def _spread(self, messages: Sequence[RecordedMessage]) -> Mapping[str, Spread]:
        took = recorded_times(messages, self._answers)
        return {name: Spread(values) for name, values in took.items()}


def timing(took: Mapping[str, Spread]) -> Timing:
    """The times in short."""
    first, total = took["first_chunk_ms"], took["total_ms"]
    return Timing(*first.percentiles(0.5, 0.95), *total.percentiles(0.5, 0.95))
