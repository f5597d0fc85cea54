"""Recordings made by an earlier megabot. They are never rewritten: an old one always opens."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.plan import make_plan
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recordings_list import describe_recording
from megabot_cli.storage.verification import verify

VERSION_1_0 = Path(__file__).parent / "recording_1_0"

SHA256 = {
    "later_minor.jsonl.gz": "3b5305f9a48f63312d0b9b5cc9d8783bd59a163ded4dc77c769f72c5f2082f6c",
    "sealed/000001.jsonl": "db8f5caea86ccfdb95f4d4efd8a8f589cdc195b39c96bc251f6f2c46a3df9c1e",
    "sealed/000002.jsonl": "5e4c22e2f15fb26462407d5532634c8f85e74cf4ab40e5247abcc5c35a5a6d8f",
    "sealed/000003.jsonl": "bfc995d3088049d720ecada02d73881d57b089c3f92bfdd6806a05bc8e171cb6",
    "unclean/000001.jsonl.part": "0dad88bfa0370857a99f06b3689b7e1865b1e7787339281d91ff70a1442752b3",
}


@pytest.mark.parametrize("name", SHA256)
def test_a_golden_file_is_as_it_was(name: str) -> None:
    assert hashlib.sha256((VERSION_1_0 / name).read_bytes()).hexdigest() == SHA256[name]


def test_a_sealed_recording_of_three_segments_opens() -> None:
    with open_recording(VERSION_1_0 / "sealed", strict=True) as reader:
        records = list(reader)
    assert reader.clean
    assert reader.header is not None
    assert reader.header.recording == "rec_1kaqejzh33bc0m1jc"
    assert reader.header.started_at == "2025-11-23T04:12:09.123456Z"
    assert reader.header.labels == {"where": "test"}
    kinds = Counter(record.kind for record in records)
    assert kinds["message"] == 24
    assert set(kinds) == {
        "open", "message", "inject", "drop", "mark", "ping", "pong", "auth", "fault", "close",
    }  # fmt: skip
    said = next(record for record in records if record.id == "msg_1")
    assert said.data == (
        '{"id":"msg_1","type":"chat_send","payload":{"content":"Grüße 😀 \\u00e9"},'
        '"timestamp":1763871129.6,"metadata":{"user_id":"ada"}}'
    )
    assert [record.payload() for record in records if record.data_b64] == [
        bytes(range(16)),
        b"\xfe\xff",
    ]
    redacted = next(record for record in records if record.id == "msg_2")
    assert redacted.redacted == ["$.payload.content", "$.payload.token"]
    assert '"big":12345678901234567890,"n":1.0e2' in (redacted.data or "")


def test_a_sealed_recording_verifies_and_holds_no_secret() -> None:
    found = verify(VERSION_1_0 / "sealed", secrets=True)
    assert found.clean, found.problems
    assert (found.segments, found.records, found.secrets_found) == (3, 35, 0)
    info = describe_recording(VERSION_1_0 / "sealed")
    assert (info.records, info.clean, info.segments) == (35, True, 3)


def test_an_unclean_recording_opens_up_to_where_it_was_torn() -> None:
    with open_recording(VERSION_1_0 / "unclean") as reader:
        assert [record.n for record in reader] == [1, 2, 3]
    assert (reader.clean, reader.torn_bytes) == (False, 29)
    assert describe_recording(VERSION_1_0 / "unclean").records == 3


def test_a_later_minor_version_opens_and_its_lines_are_whole() -> None:
    with open_recording(VERSION_1_0 / "later_minor.jsonl.gz") as reader:
        lines = list(reader.lines())
    last, line = lines[-1]
    assert (last.kind, last.note) == ("later_kind", "kept")
    assert b'"later":{"deep":[1]}' in line


@pytest.mark.parametrize(("name", "messages", "answers"), [("sealed", 2, 2), ("unclean", 1, 1)])
def test_a_golden_recording_can_be_replayed(name: str, messages: int, answers: int) -> None:
    with open_recording(VERSION_1_0 / name) as reader:
        plan = make_plan(reader, ReplayOptions())
    assert (plan.messages, plan.answers) == (messages, answers)
