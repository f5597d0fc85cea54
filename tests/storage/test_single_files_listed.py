"""A recording that is one file lies in a folder of recordings as the others do."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from megabot_cli.errors import NotFound
from megabot_cli.storage.recordings_list import (
    Unreadable,
    find_recording,
    list_recordings,
    recordings_at,
)
from megabot_cli.storage.retention import kept_segments
from tests.storage.conftest import marks, segment_bytes


def folder_of(tmp_path: Path) -> Path:
    (tmp_path / "rec_a").mkdir()
    (tmp_path / "rec_a" / "000001.jsonl").write_bytes(segment_bytes(marks(3)))
    (tmp_path / "part.jsonl").write_bytes(segment_bytes(marks(2)))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(segment_bytes(marks(1))))
    return tmp_path


def test_single_files_are_listed_behind_the_recording_that_they_were_made_of(
    tmp_path: Path,
) -> None:
    folder = folder_of(tmp_path)
    unreadable: list[Unreadable] = []
    found = list_recordings(folder, unreadable)
    assert found[0].path == folder / "rec_a"
    assert {(info.name, info.records, info.segments, info.live) for info in found[1:]} == {
        ("part.jsonl", 2, 1, False),
        ("packed.jsonl.gz", 1, 1, False),
    }
    assert unreadable == []
    assert found == recordings_at(tmp_path / "elsewhere", str(folder))


def test_files_that_do_not_begin_as_a_recording_are_none(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder / "bare.jsonl").write_text('{"type":"chat_send","payload":{}}\n')
    (folder / "notes.txt").write_bytes(segment_bytes(marks(1)))
    (folder / "torn.jsonl.gz").write_bytes(b"\x1f\x8bnothing")
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "link.jsonl").symlink_to("part.jsonl")
    os.mkfifo(folder / "pipe.jsonl")  # opened, it would keep us waiting for ever
    unreadable: list[Unreadable] = []
    assert len(list_recordings(folder, unreadable)) == 3
    assert unreadable == []
    # Beside the segments of one recording nothing else is.
    (folder / "rec_a" / "part.jsonl").write_bytes(segment_bytes(marks(2)))
    assert [info.records for info in list_recordings(folder / "rec_a")] == []


def test_a_single_file_of_a_later_version_is_told(tmp_path: Path) -> None:
    content = segment_bytes([]).replace(b'"version":"1.0"', b'"version":"2.0"')
    (tmp_path / "later.jsonl").write_bytes(content)
    os.utime(tmp_path / "later.jsonl", (5, 5))
    unreadable: list[Unreadable] = []
    assert list_recordings(tmp_path, unreadable) == []
    assert [(each.name, each.at) for each in unreadable] == [("later.jsonl", 5.0)]
    assert "Install a newer megabot" in unreadable[0].why
    assert "later.jsonl" not in unreadable[0].why  # said before it


def test_a_single_file_is_found_by_its_name_and_never_instead_of_a_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert find_recording(folder, "part.jsonl") == folder / "part.jsonl"
    assert find_recording(folder, "pack") == folder / "packed.jsonl.gz"
    (folder / "rec_a1.jsonl").write_bytes(segment_bytes(marks(1)))
    assert find_recording(folder, "rec_a") == find_recording(folder, "a") == folder / "rec_a"
    assert find_recording(folder, "last") == folder / "rec_a"
    assert find_recording(tmp_path / "elsewhere", str(folder)) == folder / "rec_a"


def test_a_folder_that_holds_one_single_file_stands_for_it(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_bytes(segment_bytes(marks(2)))
    elsewhere = tmp_path / "elsewhere"
    assert find_recording(elsewhere, str(tmp_path)) == tmp_path / "one.jsonl"
    (tmp_path / "two.jsonl").write_bytes(segment_bytes(marks(2)))
    with pytest.raises(NotFound, match="holds 2 recordings") as told:
        find_recording(elsewhere, str(tmp_path))
    named = f"{tmp_path / 'one.jsonl'}, {tmp_path / 'two.jsonl'}"
    assert told.value.hint == f"Name one of them: {named}"


def test_a_single_file_is_never_pruned(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert [each.path.parent for each in kept_segments(folder)] == [folder / "rec_a"]
