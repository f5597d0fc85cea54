from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import NotFound
from megabot_cli.recording.format_v1 import Header, encode_header
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recordings_list import (
    Unreadable,
    describe_recording,
    find_recording,
    list_recordings,
)
from tests.storage.conftest import marks, segment_bytes


def record(folder: Path, at: float, messages: int, **settings: int) -> Recorder:
    now = [0]
    recorder = Recorder(
        folder,
        RecordingSettings(**settings),  # type: ignore[arg-type]
        tool="megabot 9",
        upstream="ws://h/ws",
        clock=lambda: now[0],
        wall=lambda: at,
    )
    recorder.start()
    for number in range(messages):
        now[0] = number * 1_000_000_000
        recorder.put("message", data="x" * 3000)
        recorder.flush(10)
    return recorder


def test_recordings_are_listed_newest_first_without_being_read_through(tmp_path: Path) -> None:
    old = record(tmp_path, 1_700_000_000.5, 3)
    old.close()
    many = record(tmp_path, 1_700_000_100.0, 5, segment_bytes=4096)
    many.close()
    live = record(tmp_path, 1_700_000_200.0, 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "000001.jsonl").write_bytes(b"not a recording\n")
    infos = list_recordings(tmp_path)
    live.close()
    assert [info.id for info in infos] == [live.id, many.id, old.id]
    assert [info.records for info in infos] == [2, 5, 3]
    assert [info.clean for info in infos] == [False, True, True]
    assert [info.live for info in infos] == [True, False, False]
    assert [info.duration_s for info in infos] == [1.0, 4.0, 2.0]
    assert infos[1].segments == many.segments > 1
    assert infos[2].started_at == "2023-11-14T22:13:20.500000Z"
    assert (infos[2].upstream, infos[2].tool) == ("ws://h/ws", "megabot 9")
    assert infos[2].bytes == sum(path.stat().st_size for path in old.folder.iterdir())
    assert infos[2].path == old.folder


def listed(tmp_path: Path, name: str, first_line: bytes, mtime: float = 1_700_000_000) -> None:
    (tmp_path / name).mkdir()
    segment = tmp_path / name / "000001.jsonl.part"
    segment.write_bytes(first_line)
    os.utime(segment, (mtime, mtime))


def headed(started_at: str, **labels: str) -> bytes:
    return encode_header(Header(recording="", started_at=started_at, labels=labels))


def test_the_newest_is_the_one_that_was_made_last(tmp_path: Path) -> None:
    listed(tmp_path, "whole second", headed("2026-11-23T04:12:09Z"))
    listed(tmp_path, "half a second later", headed("2026-11-23T04:12:09.5Z"))
    listed(tmp_path, "elsewhere", headed("2026-11-23T06:12:10+02:00"))
    # Five minutes that a flight recorder kept, written down after the others had begun.
    listed(tmp_path, "dump", headed("2026-11-23T04:07:11Z", dumped_at="2026-11-23T04:12:11Z"))
    # Its header was torn by a crash: when it was written is all that is known.
    listed(tmp_path, "torn", b'{"format":"megabot-rec', 1_795_407_132)  # 04:12:12
    found = list_recordings(tmp_path)
    assert [info.path.name for info in found] == [
        "torn", "dump", "elsewhere", "half a second later", "whole second",
    ]  # fmt: skip
    assert find_recording(tmp_path, "last").name == "torn"
    assert (found[0].started_at, found[0].made_at) == ("", "2026-11-23T04:12:12Z")
    assert (found[1].started_at, found[1].made_at) == (
        "2026-11-23T04:07:11Z", "2026-11-23T04:12:11Z",
    )  # fmt: skip


def test_what_cannot_be_read_and_may_be_newer_than_the_last_is_told(tmp_path: Path) -> None:
    listed(tmp_path, "good", headed("2026-11-23T04:12:09Z"))
    newer = headed("2026-11-23T05:00:00Z").replace(b'"1.0"', b'"2.0"')
    listed(tmp_path, "newer", newer, 1_795_410_000)
    listed(tmp_path, "long ago", newer, 1_700_000_000)
    unreadable: list[Unreadable] = []
    assert find_recording(tmp_path, "last", unreadable).name == "good"
    assert [each.name for each in unreadable] == ["newer"]


def test_torn_long_and_packed_recordings_are_listed_too(tmp_path: Path) -> None:
    contents = {
        "a/000001.jsonl.part": segment_bytes(marks(7)) + b'{"n":8,"t"',
        "b/000001.jsonl.part": segment_bytes(marks(2)) + b"x" * 300_000,
        "c/000001.jsonl.gz": gzip.compress(segment_bytes(marks(4))),
        "d/000001.jsonl.part": segment_bytes([]),
        "e/000001.jsonl.part": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    infos = {info.path.name: info for info in list_recordings(tmp_path)}
    assert {name: info.records for name, info in infos.items()} == {
        "a": 7,
        "b": 2,
        "c": 4,
        "d": 0,
        "e": 0,
    }
    assert not any(info.clean or info.live for info in infos.values())


def test_what_is_listed_is_what_is_still_there(tmp_path: Path) -> None:
    recorder = record(tmp_path, 1000.0, 20, segment_bytes=4096)
    recorder.close()
    segments = sorted(recorder.folder.iterdir())
    assert len(segments) > 3
    segments[0].unlink()
    with open_recording(recorder.folder) as reader:
        left = list(reader)
    assert 0 < len(left) < 20
    assert describe_recording(recorder.folder).records == len(left)
    # The next segment has been begun, and nothing has come yet.
    empty = recorder.folder / f"{len(segments) + 1:06d}.jsonl.part"
    empty.write_bytes(segments[1].read_bytes().splitlines(keepends=True)[0])
    info = describe_recording(recorder.folder)
    assert (info.records, info.clean) == (len(left), False)
    assert info.duration_s == pytest.approx(left[-1].t / 1e6, abs=0.5)


def test_a_folder_that_may_not_be_read_hides_no_other(tmp_path: Path) -> None:
    for name in ("rec_a", "rec_b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "000001.jsonl").write_bytes(segment_bytes([]))
    (tmp_path / "rec_b" / "000001.jsonl").chmod(0)
    (tmp_path / "rec_c").symlink_to(tmp_path / "rec_a")
    (tmp_path / "rec_d").write_text("a file")
    names = [info.path.name for info in list_recordings(tmp_path)]
    assert "rec_a" in names
    assert set(names) <= {"rec_a", "rec_b"}  # root reads everything


def test_a_folder_that_is_not_there_lists_nothing(tmp_path: Path) -> None:
    assert list_recordings(tmp_path / "nothing") == []


def test_a_recording_is_found_by_id_start_last_and_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at, name in ((1, "rec_aa1"), (2, "rec_aa2"), (3, "rec_b"), (4, "rec_b2")):
        (tmp_path / name).mkdir()
        content = segment_bytes([]).replace(b"2026-11-23", f"2026-11-{at:02}".encode())
        (tmp_path / name / "000001.jsonl").write_bytes(content)
    assert find_recording(tmp_path, "rec_aa1") == tmp_path / "rec_aa1"
    assert find_recording(tmp_path, "aa2") == tmp_path / "rec_aa2"
    assert find_recording(tmp_path, "rec_b") == tmp_path / "rec_b"  # whole, though rec_b2 begins so
    assert find_recording(tmp_path, "last") == tmp_path / "rec_b2"
    segment = tmp_path / "rec_b" / "000001.jsonl"
    assert find_recording(tmp_path, str(segment)) == segment
    monkeypatch.chdir(tmp_path / "rec_b")
    assert find_recording(tmp_path, "000001.jsonl") == Path("000001.jsonl")
    monkeypatch.chdir(tmp_path)
    assert find_recording(tmp_path / "elsewhere", "rec_b") == Path("rec_b")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("aa", "rec_aa1, rec_aa2"), ("zz", "recordings list"), ("../nothing", "recordings list")],
)
def test_a_name_that_means_none_or_several_is_not_found_with_a_hint(
    tmp_path: Path, name: str, hint: str
) -> None:
    for each in ("rec_aa1", "rec_aa2"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "000001.jsonl").write_bytes(segment_bytes([]))
    with pytest.raises(NotFound) as refused:
        find_recording(tmp_path, name)
    assert hint in (refused.value.hint or "")


def test_no_name_means_no_recording_also_where_there_is_one_only(tmp_path: Path) -> None:
    (tmp_path / "rec_aa1").mkdir()
    (tmp_path / "rec_aa1" / "000001.jsonl").write_bytes(segment_bytes([]))
    with pytest.raises(NotFound, match="No recording is named"):
        find_recording(tmp_path, "")


def test_a_folder_that_holds_one_recording_stands_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = record(tmp_path / "rec", 1_700_000_000.0, 1)
    one.close()
    (tmp_path / "rec" / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "kept elsewhere"
    for kept in range(3):  # whose ids begin like the folder's name, all of them
        for name in ("rec", "./rec", str(tmp_path / "rec")):
            assert find_recording(elsewhere, name).resolve() == one.folder
        record(elsewhere, 1_700_000_100.0 + kept, 1).close()
    (tmp_path / "rec_").mkdir()  # holds none: it means the ids that begin so
    with pytest.raises(NotFound, match="3 recordings begin with rec_"):
        find_recording(elsewhere, "rec_")


def test_a_folder_of_several_recordings_names_the_newest_of_them_last(tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    ids = []
    for number in range(6):
        recorder = record(folder, 1_700_000_000.0 + number, 1)
        recorder.close()
        ids.append(recorder.id)
    with pytest.raises(NotFound) as told:
        find_recording(tmp_path, str(folder))
    assert told.value.message == f"{folder} holds 6 recordings."
    named = ", ".join(str(folder / each) for each in ids[1:])
    assert told.value.hint == f"Name one of them, the newest last: … {named}"


def test_last_of_none_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        find_recording(tmp_path, "last")
    assert "megabot relay" in (refused.value.hint or "")


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    for name, first_line in (("rec_new", b'"version":"2.0"'), ("rec_odd", b"garbage")):
        (tmp_path / name).mkdir()
        content = segment_bytes([]).replace(b'"version":"1.0"', first_line)
        (tmp_path / name / "000001.jsonl").write_bytes(content)
    unreadable: list[Unreadable] = []
    assert list_recordings(tmp_path, unreadable) == []
    new, odd = unreadable
    assert (new.name, odd.name) == ("rec_new", "rec_odd")
    assert "version 2.0" in new.why
    assert "Install a newer megabot" in new.why
    assert "not the header" in odd.why
