"""The file of an index: how long it may be, whose it is, and which segments have one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megabot_cli.recording.format_v1 import End
from megabot_cli.recording.segment_index import IndexBuilder, SegmentIndex, encode_index
from megabot_cli.storage import index_file
from megabot_cli.storage.index_file import (
    index_bytes,
    index_content,
    index_text,
    remove_index,
    remove_leftovers,
    write_index,
    write_index_of_sealed,
)
from megabot_cli.storage.private_files import replace_private

INDEX = SegmentIndex(bytes=100, sha256="", modified_ns=0, values={}, blocks=[])


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "000001.jsonl"
    path.write_bytes(b"x" * 100)
    return path


@pytest.mark.parametrize(
    ("segment_bytes", "most"),
    [(0, 65_536), (8_000, 65_636), (10**15, 16 * 1024 * 1024)],
)
def test_an_index_may_have_its_share_of_the_segment_and_no_more(
    segment: Path, segment_bytes: int, most: int
) -> None:
    with segment.with_suffix(".index").open("wb") as file:
        file.truncate(most)
        assert len(index_content(segment, segment_bytes) or b"") == most
        file.truncate(most + 1)
        assert index_content(segment, segment_bytes) is None


@pytest.mark.parametrize(("size", "has_one"), [(1024 * 1024, True), (1024 * 1024 - 1, False)])
def test_a_segment_that_was_sealed_has_an_index_from_a_length_on(
    segment: Path, size: int, has_one: bool
) -> None:
    end = End(n=1, t=0, records=0, bytes=size, counts={}, sha256="")
    write_index_of_sealed(segment, end, IndexBuilder(100))
    assert segment.with_suffix(".index").exists() is has_one


def test_what_a_link_leads_to_is_no_index_and_stays(segment: Path, tmp_path: Path) -> None:
    path, elsewhere = segment.with_suffix(".index"), tmp_path / "elsewhere"
    elsewhere.write_bytes(encode_index(INDEX))
    path.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic"):
        index_content(segment, 100)
    assert (index_bytes(segment), index_text(segment)) == (0, None)
    remove_index(segment)
    remove_leftovers(tmp_path)
    write_index(segment, INDEX)
    assert path.is_symlink()


def test_an_index_of_any_name_is_known_by_how_it_begins(tmp_path: Path) -> None:
    segment, path = tmp_path / "talk.jsonl", tmp_path / "talk.index"
    segment.touch()
    write_index(segment, INDEX)
    assert index_bytes(segment) == path.stat().st_size
    write_index(segment, SegmentIndex(bytes=9, sha256="", modified_ns=1, values={}, blocks=[]))
    assert b'"bytes":9' in path.read_bytes()
    remove_index(segment)
    assert not path.exists()


def test_what_else_has_such_a_name_is_none_of_ours(tmp_path: Path) -> None:
    segment, notes = tmp_path / "notes.jsonl", tmp_path / "notes.index"
    notes.write_text("what I think of it")
    assert (index_bytes(segment), index_text(segment)) == (0, None)
    remove_index(segment)
    remove_leftovers(tmp_path)
    write_index(segment, INDEX)
    assert notes.read_text() == "what I think of it"


def test_what_was_left_of_indexes_goes(tmp_path: Path) -> None:
    for name in ("000001.index", ".000002.index.abc", "kept"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_of_a_segment_that_was_removed_meanwhile_no_index_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "rec_1" / "000001.jsonl"
    write_index(gone, INDEX)
    assert not gone.parent.exists()
    gone.parent.mkdir()
    gone.touch()

    def removed_just_then(path: Path, content: bytes, *, held: bool) -> None:
        gone.unlink()
        replace_private(path, content, held=held)

    monkeypatch.setattr(index_file, "replace_private", removed_just_then)
    write_index(gone, INDEX)
    assert not gone.parent.exists()


def test_a_segment_that_was_packed_meanwhile_keeps_its_index(segment: Path) -> None:
    segment.rename(segment.with_suffix(".jsonl.zst"))
    write_index(segment, INDEX)
    assert segment.with_suffix(".index").exists()


def test_a_folder_and_a_pipe_are_no_index(segment: Path) -> None:
    path = segment.with_suffix(".index")
    os.mkfifo(path)
    assert index_content(segment, 100) is None
    path.unlink()
    path.mkdir()
    assert (index_bytes(segment), index_text(segment)) == (0, None)
    remove_index(segment)
    assert path.is_dir()


def test_what_is_no_segment_has_none(tmp_path: Path) -> None:
    assert index_file.index_path(tmp_path / "000001.jsonl.part") is None
    assert index_file.index_path(tmp_path / "a.jsonl.zst") == tmp_path / "a.index"


def aged(path: Path, age_s: float) -> None:
    os.utime(path, (time.time() - age_s,) * 2)


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_what_a_killed_writer_left_goes_with_the_next_index_and_what_a_living_one_is_at_stays(
    segment: Path, tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from megabot_cli.recording.segment_index import SegmentIndex;"
        "from megabot_cli.storage.index_file import write_index;"
        "os.fsync = lambda _: (print('begun', flush=True), signal.pause());"  # a disk that stalls
        "index = SegmentIndex(bytes=9, sha256='', modified_ns=0, values={}, blocks=[]);"
        "write_index(Path(sys.argv[1]), index)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(segment)], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begun\n"
            (left,) = unfinished(tmp_path)
            aged(left, 600)
            write_index(segment, INDEX)
            stays = unfinished(tmp_path)
        finally:
            writer.kill()
    assert stays == [left]
    aged(left, 1)
    write_index(segment, INDEX)
    assert unfinished(tmp_path) == [left]  # it may be there and not yet locked
    aged(left, 600)
    other = tmp_path / "000002.jsonl"
    other.touch()
    write_index(other, INDEX)
    assert unfinished(tmp_path) == []


def test_where_nobody_can_know_an_hour_is_long_enough(segment: Path, tmp_path: Path) -> None:
    left = tmp_path / ".000001.index.abcdefgh"
    left.touch()
    with left.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for age_s, stays in ((3000, True), (3700, False)):
            aged(left, age_s)
            write_index(segment, INDEX)
            assert left.exists() is stays


def test_what_is_only_named_like_an_unfinished_index_stays(tmp_path: Path) -> None:
    names = {".notes.index.abcdefgh", ".talk.index.swp", ".000001.index.abcdefgh", ".talk.index"}
    for name in names:
        (tmp_path / name).touch()
        aged(tmp_path / name, 10_000)
    (tmp_path / "talk.jsonl").touch()
    write_index(tmp_path / "talk.jsonl", INDEX)
    assert {path.name for path in unfinished(tmp_path)} == names
    (tmp_path / ".talk.index.abcd_fg8").touch()
    aged(tmp_path / ".talk.index.abcd_fg8", 10_000)
    write_index(tmp_path / "talk.jsonl", INDEX)
    assert {path.name for path in unfinished(tmp_path)} == names
