from __future__ import annotations

from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.replay.arrivals import Arrivals
from megabot_cli.replay.judging import recorded_times, times
from megabot_cli.replay.recorded_message import RecordedMessage
from tests.replay.texts import answer, chunk


def test_an_answer_that_broke_off_has_no_time_at_which_it_was_whole() -> None:
    answers = Arrivals({})
    for place, text in enumerate((chunk("hel", 1), answer("hello"), chunk("hi", 1, last=True))):
        answers[place] = came = Answer()
        came.add(peek(text), text, 1.5)
    sent_at = dict.fromkeys(answers, 1.0)
    messages = [
        RecordedMessage(
            place, place, 1_000_000, "c1", "lane", None, "chat_send", named=True, said="{}"
        )
        for place in answers
    ]
    for took in (times(answers, sent_at), recorded_times(messages, answers)):
        assert took == {"first_chunk_ms": [500.0] * 3, "total_ms": [500.0] * 2}
