from __future__ import annotations

from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.redaction import Redactor
from megabot_cli.replay.arrivals import Arrivals, PlainAnswers
from megabot_cli.replay.compare import Comparer
from megabot_cli.replay.judging import judge, recorded_times, times
from megabot_cli.replay.report import MOST_DIFFERENCES
from tests.replay.texts import answer, chunk, questions, refusal


def answered(*texts: str) -> dict[int, Answer]:
    answers = {}
    for place, text in enumerate(texts):
        answers[place] = came = Answer()
        came.add(peek(text), text, 1.5)
    return answers


def test_what_failed_is_told_before_what_may_differ() -> None:
    many = MOST_DIFFERENCES + 20
    recorded = answered(*[answer("yes")] * many)
    arrivals = Arrivals(recorded, PlainAnswers(questions(many), recorded))
    arrivals.update(answered(*[answer("no")] * (many - 1), refusal("broken")))
    found = judge(
        questions(many),
        dict.fromkeys(range(many), 1.0),
        arrivals,
        Comparer(Redactor(b"key")),
        "shape",
    )
    assert (found.failed, len(found.differences)) == (1, MOST_DIFFERENCES)
    assert [each.n for each in found.differences] == [many - 1, *range(MOST_DIFFERENCES - 1)]
    assert [each.failed for each in found.differences[:2]] == [True, False]


def test_an_answer_that_broke_off_has_no_time_at_which_it_was_whole() -> None:
    answers = Arrivals({}, PlainAnswers((), {}))
    for place, text in enumerate((chunk("hel", 1), answer("hello"), chunk("hi", 1, last=True))):
        answers[place] = came = Answer()
        came.add(peek(text), text, 1.5)
    sent_at = dict.fromkeys(answers, 1.0)
    messages = questions(len(answers))
    for took in (times(answers, sent_at), recorded_times(messages, answers)):
        assert took == {"first_chunk_ms": [500.0] * 3, "total_ms": [500.0] * 2}
