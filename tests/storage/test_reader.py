from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.errors import BadData, NotFound
from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage import line_source
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.line_source import lines_of
from megabot_cli.storage.recording_reader import open_recording
from tests.recording.arbitrary import records as any_records
from tests.recording.arbitrary import thorough
from tests.storage.conftest import NewRecorder, marks, read, segment_bytes


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recording") / "000001.jsonl.part"


@thorough
@given(st.lists(any_records, max_size=4), st.data())
def test_a_segment_cut_at_any_byte_reads_as_a_prefix_of_its_records(
    segment: Path, records: list[Record], data: st.DataObject
) -> None:
    whole = segment_bytes(records)
    cut = data.draw(st.integers(min_value=0, max_value=len(whole)))
    segment.write_bytes(whole[:cut])
    with open_recording(segment) as reader:
        found = list(reader)
    assert found == records[: len(found)]
    assert not reader.clean
    assert not reader.bad_lines
    lines_whole = whole[:cut].count(b"\n")
    assert len(found) >= lines_whole - 1
    if not cut:
        assert "empty, not even a header" in reader.warnings[0]
    if reader.torn_bytes:
        torn_at = whole.rfind(b"\n", 0, cut) + 1
        assert f"torn at byte {torn_at};" in reader.warnings[0]


def test_a_bad_line_in_the_middle_is_counted_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    content = segment_bytes(marks(3)).splitlines(keepends=True)
    content.insert(2, b'{"n":"two"}\n')
    content.insert(3, b"\x00\xff\n")
    path.write_bytes(b"".join(content))
    with open_recording(path) as reader:
        assert [record.n for record in reader] == [1, 2, 3]
    assert reader.bad_lines == 2
    assert f"byte {len(content[0] + content[1])}" in reader.warnings[0]


@pytest.mark.parametrize("damage", [b"{}\n", b'{"n":9,"t'])
def test_strict_reading_fails_at_the_first_damage(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(segment_bytes(marks(2)) + damage)
    with open_recording(path, strict=True) as reader, pytest.raises(BadData, match="byte"):
        list(reader)


def test_a_million_bad_lines_make_few_warnings(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(segment_bytes([]) + b"{}\n" * 10_000)
    with open_recording(path) as reader:
        assert list(reader) == []
    assert reader.bad_lines == 10_000
    assert len(reader.warnings) <= 20


def test_a_folder_reads_segment_after_segment(tmp_path: Path) -> None:
    (tmp_path / "000002.jsonl.part").write_bytes(segment_bytes(marks(2, first=3), segment=2))
    (tmp_path / "000001.jsonl").write_bytes(segment_bytes(marks(2)))
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "000003.jsonl").symlink_to("/etc/hostname")
    assert [record.n for record in read(tmp_path)] == [1, 2, 3, 4]


def test_a_folder_of_recordings_says_which_to_name(tmp_path: Path) -> None:
    (tmp_path / "rec_1").mkdir()
    (tmp_path / "rec_1" / "000001.jsonl").write_bytes(segment_bytes([]))
    with pytest.raises(NotFound) as refused:
        open_recording(tmp_path)
    assert "rec_1" in (refused.value.hint or "")


def test_gzip_opens_as_it_is_also_torn_and_joined(tmp_path: Path) -> None:
    whole = segment_bytes(marks(2000))
    packed = gzip.compress(whole)
    (tmp_path / "whole.jsonl.gz").write_bytes(packed)
    assert read(tmp_path / "whole.jsonl.gz") == marks(2000)
    (tmp_path / "torn.gz").write_bytes(packed[: len(packed) // 2])
    with open_recording(tmp_path / "torn.gz") as reader:
        found = list(reader)
    assert "of what could be unpacked; " in reader.warnings[0]
    assert 0 < len(found) < 2000
    assert found == marks(2000)[: len(found)]
    (tmp_path / "joined.gz").write_bytes(gzip.compress(whole[:100]) + gzip.compress(whole[100:]))
    assert read(tmp_path / "joined.gz") == marks(2000)
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 0xFF
    (tmp_path / "damaged.gz").write_bytes(damaged)
    with open_recording(tmp_path / "damaged.gz") as reader:
        list(reader)
    assert not reader.clean


def test_standard_input_is_read_for_a_dash() -> None:
    program = (
        "from megabot_cli.storage.recording_reader import open_recording\n"
        "with open_recording('-') as reader: print([record.n for record in reader])"
    )
    for content in (segment_bytes(marks(3)), gzip.compress(segment_bytes(marks(3)))):
        done = subprocess.run(
            [sys.executable, "-c", program], input=content, capture_output=True, check=True
        )
        assert done.stdout == b"[1, 2, 3]\n"


def test_a_newer_minor_version_reads_and_its_lines_can_be_copied(tmp_path: Path) -> None:
    line = b'{"n":1,"t":5,"kind":"later","later":true}'
    path = tmp_path / "x.jsonl"
    path.write_bytes(segment_bytes([]).replace(b'"1.0"', b'"1.9"') + line + b"\n")
    with open_recording(path) as reader:
        assert list(reader.lines()) == [(Record(n=1, t=5, kind="later"), line)]


def test_a_newer_major_version_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(segment_bytes([]).replace(b'"1.0"', b'"2.0"'))
    with pytest.raises(BadData, match=r"x\.jsonl: .*version 2\.0"):
        open_recording(path)


@pytest.mark.parametrize("content", [b"\n", b"hello", b"\x7fELF\x00", b'{"log":{"entries":[]}}'])
def test_what_is_no_recording_is_bad_data(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadData):
        open_recording(tmp_path / "x")


def test_a_recording_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_recording(tmp_path / "nothing.jsonl")


def test_a_live_recording_reads_as_far_as_it_is_written(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    recorder.put("mark", note="here")
    assert recorder.flush(10)
    with open_recording(recorder.folder) as reader:
        assert [record.note for record in reader] == ["here"]
    assert not reader.clean
    recorder.close()
    with open_recording(recorder.folder) as reader:
        list(reader)
    assert reader.clean


def test_a_line_longer_than_any_record_is_passed_over_unread() -> None:
    content = b"a\n" + b"x" * 100 + b"\nb\n" + b"y" * 50
    lines = list(lines_of(io.BytesIO(content), "x", most_bytes=10))
    assert [(line.content, line.offset, line.size, line.whole) for line in lines] == [
        (b"a", 0, 2, True),
        (None, 2, 101, True),
        (b"b", 103, 2, True),
        (None, 105, 50, False),
    ]


def test_a_file_that_never_ends_its_first_line_is_none_of_ours() -> None:
    with pytest.raises(BadData, match="zero: The first line is not the header"):
        open_recording("/dev/zero")
    with pytest.raises(BadData, match="zero holds neither a recording, nor"):
        open_any("/dev/zero")


def test_a_line_is_passed_over_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_source, "ENDLESS_BYTES", 65 * 1024 * 1024)
    path = tmp_path / "endless.jsonl"
    record = encode_record(Record(n=1, t=1, kind="message", type="a", data="x"))
    path.write_bytes(segment_bytes([]) + record)
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"id":"m1","type":"chat_send","payload":{}}\n')
    for file in path, bare:
        os.truncate(file, 66 * 1024 * 1024)  # a hole in it takes no disk
    for source in path, bare:
        with (
            open_any(source) as reader,
            pytest.raises(BadData, match=f"{source.name} has a line that does not end within"),
        ):
            list(reader)
    with open_recording(path) as reader:
        found = choose(reader, Selection(types=("a",)))
        assert next(found)[0].n == 1
        with pytest.raises(BadData, match=r"endless\.jsonl has a line"):
            next(found)


def test_a_search_tells_of_lines_that_it_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    record = encode_record(Record(n=1, t=1, kind="message", type="a", data="x"))
    path.write_bytes(segment_bytes([]) + record + b"x" * (65 * 1024 * 1024) + b"\n" + record)
    with open_recording(path) as reader:
        assert len(list(choose(reader, Selection(types=("a",))))) == 2
    assert reader.warnings == ["long.jsonl: 1 line longer than a record may be, passed over"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    line = encode_record(Record(n=1, t=1, kind="message", data="x" * 1000))
    path.write_bytes(segment_bytes([]) + line * 20_000)
    tracemalloc.start()
    with open_recording(path) as reader:
        assert sum(1 for _ in reader) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1024 * 1024


def test_a_line_of_a_gibibyte_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        file.write(segment_bytes(marks(1)))
        file.seek(2**30, os.SEEK_CUR)  # takes no room on the disk
        file.write(b"\n" + encode_record(Record(n=2, t=20, kind="mark", note="no 2")))
    tracemalloc.start()
    with open_recording(path) as reader:
        assert [record.n for record in reader] == [1, 2]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.bad_lines == 1
    assert most < 150 * 2**20
