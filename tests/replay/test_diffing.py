from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.replay.compare import Comparer, Verdict
from megabot_cli.replay.diffing import RecordingDiff, diff
from megabot_cli.storage.segment_reader import open_recording

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


def records() -> list[Record]:
    with open_recording(SEALED) as reader:
        return list(reader)


def compared(left: list[Record], right: list[Record]) -> RecordingDiff:
    return diff(left, right, Comparer(Redactor(b"k" * 32)), Likeness("payload"))


def test_a_recording_is_the_same_as_itself() -> None:
    found = compared(records(), records())
    assert (found.requests, found.same, found.differences) == (3, 3, [])


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
