from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.replay import diffing
from megabot_cli.replay.compare import Comparer, Verdict
from megabot_cli.replay.diffing import RecordingDiff, diff
from megabot_cli.storage.recording_reader import open_recording

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


def records() -> list[Record]:
    with open_recording(SEALED) as reader:
        return list(reader)


def compared(left: list[Record], right: list[Record]) -> RecordingDiff:
    return diff(left, right, Comparer(Redactor(b"k" * 32)), Likeness("payload"))


def test_a_recording_is_the_same_as_itself() -> None:
    found = compared(records(), records())
    assert (found.requests, found.same, found.differences) == (3, 3, [])
    assert found.answered == 2  # a binary message is the third


def test_an_answer_that_breaks_off_has_no_time_at_which_it_was_whole() -> None:
    whole = compared(records(), records())
    asked = next(each for each in records() if each.type == "chat_send")
    ends = [each for each in records() if each.type == "chat_stream" and each.reply_to == asked.id]
    begun = compared([asked, *ends[:1]], [asked, *ends[:1]])
    assert (begun.answered, begun.left_p50_ms, begun.right_p50_ms) == (1, 0.0, 0.0)
    assert whole.left_p50_ms > 0


@pytest.mark.parametrize(
    ("old", "new", "verdict", "detail"),
    [
        ("Hello", "Bye", Verdict.SAME_SHAPE, "step 1: chat_stream says something else"),
        ("chat_stream", "tool_result", Verdict.DIFFERENT, "recorded chat_stream"),
    ],
)
def test_what_came_to_the_same_request_is_compared(
    old: str, new: str, verdict: Verdict, detail: str
) -> None:
    changed = records()
    for record in changed:
        if record.type == "chat_stream" and record.data is not None:
            record.data = record.data.replace(old, new)
    found = compared(records(), changed)
    assert [each.verdict for each in found.differences] == [verdict]
    difference = found.differences[0]
    assert (difference.left_n, difference.right_n) == (4, 4)
    assert detail in difference.detail
    assert difference.request.startswith("chat_send: Grüße")


def test_requests_of_one_side_are_missing_or_extra() -> None:
    some = [record for record in records() if record.n != 4]
    assert [each.verdict for each in compared(records(), some).differences] == [Verdict.MISSING]
    extra = compared(some, records())
    assert (extra.extra, extra.differences[0].left_n, extra.differences[0].right_n) == (1, None, 4)


def test_a_binary_request_is_told_as_one() -> None:
    def binary(data_b64: str) -> Record:
        return Record(
            n=1, t=1, kind="message", direction="to_upstream", client="c", opcode="binary",
            size=3, data_b64=data_b64,
        )  # fmt: skip

    assert compared([binary("AAH/")], [binary("AAH/")]).same == 1
    found = compared([binary("AAH/")], [binary("AAH+")])
    assert [each.request for each in found.differences] == ["message: 3 bytes, binary"] * 2


def test_the_same_request_made_twice_is_two_requests() -> None:
    again = [
        msgspec.structs.replace(record, n=n, t=10**7 + n) for n, record in enumerate(records(), 100)
    ]
    twice = records() + again
    assert compared(twice, twice).same == 6
    assert compared(records(), twice).extra == 3


def test_one_secret_has_another_pseudonym_in_each_recording() -> None:
    def redacted(pseudonym: str) -> list[Record]:
        found = records()
        for record in found:
            if record.type == "chat_send" and record.data is not None:
                record.data = record.data.replace("Grüße", f"token=‹redacted:{pseudonym}›")
        return found

    found = compared(redacted("4675cfeb"), redacted("bec79ddc"))
    assert (found.requests, found.same) == (3, 3), found.differences


def asked(question: int, n: int) -> list[Record]:
    """A question and its answer."""
    said = f'{{"id":"m{question}","type":"chat_send","payload":{{"content":"{question}"}}}}'
    told = f'{{"id":"r{question}","type":"chat_receive","payload":{{"content":"so {question}"}}}}'
    return [
        Record(n=n, t=n, kind="message", direction="to_upstream", link="l", id=f"m{question}",
               type="chat_send", data=said),
        Record(n=n + 1, t=n + 1, kind="message", direction="to_client", link="l",
               type="chat_receive", data=told),
    ]  # fmt: skip


def test_what_waits_for_the_other_side_may_wait_on_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diffing, "_MOST_IN_MEMORY", 3)
    numbers = range(40)
    left = [record for number in numbers for record in asked(number, number * 2 + 1)]
    right = [record for number in numbers for record in asked(39 - number, number * 2 + 1)]
    found = compared(left, right)
    assert (found.requests, found.same, found.differences) == (40, 40, [])
    other = [record for number in numbers for record in asked(100 + number, number * 2 + 1)]
    found = compared(left, other)
    assert (found.missing, found.extra) == (40, 40)
    assert found.differences[39].request == "chat_send: 39"


def test_both_sides_are_read_side_by_side() -> None:
    taken = [0, 0]

    def side(number: int) -> Iterator[Record]:
        for question in range(100):
            for record in asked(question, question * 2 + 1):
                taken[number] += 1
                assert abs(taken[0] - taken[1]) < 10
                yield record

    found = diff(side(0), side(1), Comparer(Redactor(b"k" * 32)), Likeness("payload"))
    assert (found.requests, found.same) == (100, 100)
