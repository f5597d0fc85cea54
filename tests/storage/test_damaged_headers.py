"""A recording whose first line is damaged has lost that line, and not all that follows."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import pytest

from megabot_cli.errors import BadData
from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage import segment_reader
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.line_source import first_line_of
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recordings_list import describe_recording
from megabot_cli.storage.verification import verify
from tests.storage.conftest import segment_bytes

RECORDS = [Record(n=n, t=n * 1000, kind="message", data=f"words {n}") for n in range(1, 6)]
DAMAGED = {
    "no JSON": b"garbage {",
    "binary": b"\x00\xff\xfe",
    "empty": b"",
    "a key too few": b'{"format":"megabot-recording","version":"1.0"}',
    "another type": b'{"format":"megabot-recording","version":"1.0","recording":7}',
    "a message": b'{"id":"x","type":"y","payload":{}}',
    "cut short": b'{"format":"megabot-reco',
}


@pytest.fixture(params=[*DAMAGED.values(), None], ids=[*DAMAGED, "not there"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "x.jsonl"
    _, _, records = segment_bytes(RECORDS, upstream="ws://h/ws").partition(b"\n")
    path.write_bytes(records if request.param is None else request.param + b"\n" + records)
    return path


def lines_of(path: Path) -> list[str | None]:
    with open_any(path) as reader:
        assert reader.header is None
        found = [record.data for record, _ in reader.lines()]
        assert "when it began is not known" in reader.warnings[0]
        assert not reader.clean
    return found


def test_its_records_are_read_and_what_is_lost_is_told(damaged: Path) -> None:
    assert lines_of(damaged) == [record.data for record in RECORDS]


def test_it_is_read_packed_as_well(damaged: Path, tmp_path: Path) -> None:
    packed = tmp_path / "x.jsonl.gz"
    packed.write_bytes(gzip.compress(damaged.read_bytes()))
    assert lines_of(packed) == [record.data for record in RECORDS]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Selection(), [1, 2, 3, 4, 5]),
        (Selection(grep="words [15]"), [1, 5]),
        (Selection(where='data == "words 1"'), [1]),
    ],
)
def test_what_is_sought_in_it_is_found(
    damaged: Path, wanted: Selection, numbers: list[int]
) -> None:
    with open_any(damaged) as reader:
        assert [record.n for record, _ in choose(reader, wanted)] == numbers


def test_many_at_a_time_are_all(damaged: Path) -> None:
    with open_recording(damaged) as reader:
        found = [record.n for block in reader.in_blocks() for record in block]
    assert found == [1, 2, 3, 4, 5]


def test_it_is_not_clean(damaged: Path) -> None:
    found = verify(damaged)
    assert (found.clean, found.records, found.bad_lines) == (False, 5, 1)
    shown = describe_recording(damaged)
    assert (shown.clean, shown.records, shown.started_at) == (False, 5, "")


def test_strict_refuses_it_and_says_why(damaged: Path) -> None:
    with pytest.raises(BadData, match="its header"):
        open_any(damaged, strict=True)


@pytest.mark.parametrize(
    "content",
    [
        b"garbage\nmore of it\n",
        b"garbage\n",
        b'{"format":"megabot-recording","version":"1.0"}\n',
        b'garbage\n{"n":1,"t":"no time"}\n',
        b'garbage\n{"t":1,"n":1,"kind":"message"}\n',
    ],
)
def test_what_is_no_recording_is_refused_as_before(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadData):
        open_any(path)


def test_a_newer_major_version_is_refused_whatever_follows(damaged: Path) -> None:
    _, _, records = damaged.read_bytes().rpartition(b'\n{"n":1,')
    newer = b'{"format":"megabot-recording","version":"2.0","id":1}\n{"n":1,'
    damaged.write_bytes(newer + records)
    with pytest.raises(BadData, match=r"format version 2\.0"):
        open_any(damaged)


@pytest.mark.parametrize("start", [b"x", b'{"format":"megabot-recording","version":"1.0","note":"'])
def test_a_first_line_longer_than_any_record_is_no_header_and_nothing_is_read_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    """It may never end: a device, a pipe. What stands within it is no line."""
    monkeypatch.setattr(segment_reader, "first_line_of", partial(first_line_of, most_bytes=200))
    path = tmp_path / "x.jsonl"
    _, _, records = segment_bytes(RECORDS, upstream="ws://h/ws").partition(b"\n")
    path.write_bytes(start.ljust(200, b"x") + records)
    with pytest.raises(BadData, match="not the header"):
        open_recording(path)


def test_a_record_longer_than_any_in_the_place_of_the_header_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_reader, "first_line_of", partial(first_line_of, most_bytes=200))
    path = tmp_path / "x.jsonl"
    path.write_bytes(encode_record(Record(n=1, t=1, kind="message", data="x" * 300)))
    with pytest.raises(BadData):
        open_recording(path)
