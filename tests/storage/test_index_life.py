"""How an index comes to be beside a sealed segment, and goes with it."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.selection import Selection
from megabot_cli.storage import narrowing
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.compressing import compress
from megabot_cli.storage.index_finding import refresh_index
from megabot_cli.storage.recordings_list import describe_recording, remove_if_empty
from megabot_cli.storage.retention import kept_segments, remove
from megabot_cli.storage.verification import verify
from tests.storage.conftest import NewRecorder
from tests.storage.indexed import index_in_blocks, index_of, numbers, sealed_bytes

_ONE_TYPE = Selection(types=("type_7",))


def test_a_missing_index_is_made_by_who_searches(
    segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = segment.with_suffix(".index")
    path.unlink()
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))
    assert not path.exists()  # it is a short one
    monkeypatch.setattr(narrowing, "WORTH_BUILDING_BYTES", 1000)
    assert numbers(segment, Selection(begin=Place("number", 1990))) == list(range(1990, 2001))
    assert not path.exists()  # halving it is as quick
    assert len(numbers(segment, Selection(types=("type_7",), limit=1))) == 1
    assert not path.exists()
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert index_of(segment) is not None


@pytest.mark.parametrize(("more", "made"), [(0, True), (1, False)])
def test_a_missing_index_is_made_from_a_length_on(
    segment: Path, monkeypatch: pytest.MonkeyPatch, more: int, *, made: bool
) -> None:
    path = segment.with_suffix(".index")
    path.unlink()
    monkeypatch.setattr(narrowing, "WORTH_BUILDING_BYTES", segment.stat().st_size + more)
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))
    assert path.exists() is made


def test_how_far_it_is_can_be_told(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment.with_suffix(".index").unlink()
    monkeypatch.setattr(narrowing, "WORTH_BUILDING_BYTES", 1000)
    seen: list[tuple[int, int]] = []
    from megabot_cli.storage.foreign import open_any

    with open_any(segment, seen_indexing=lambda done, total: seen.append((done, total))) as reader:
        assert len(list(choose(reader, _ONE_TYPE))) == 100
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)


@pytest.mark.parametrize("mode", [0o755, 0o500])
def test_where_others_look_in_or_nobody_may_write_none_is_made(
    segment: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setattr(narrowing, "WORTH_BUILDING_BYTES", 1000)
    segment.with_suffix(".index").unlink()
    segment.parent.chmod(mode)
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))
    is_there = segment.with_suffix(".index").exists()
    segment.parent.chmod(0o700)
    assert not is_there or (mode == 0o500 and os.geteuid() == 0)


def test_what_is_unclean_or_live_has_none(
    folder: Path, segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrowing, "WORTH_BUILDING_BYTES", 1000)
    segment.with_suffix(".index").unlink()
    content = segment.read_bytes()
    unclean = content[: content.rindex(b"\n", 0, -1) + 1]
    segment.write_bytes(unclean)
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))
    segment.rename(folder / "000001.jsonl.part")
    assert numbers(folder, _ONE_TYPE) == list(range(700, 800))
    assert not list(folder.glob("*.index"))


def test_it_is_counted_with_its_segment_and_goes_with_it(folder: Path, segment: Path) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert describe_recording(folder).bytes == size
    assert [each.bytes for each in kept_segments(folder.parent)] == [size]
    (folder / ".000001.index.abc").touch()  # somebody was killed
    (folder / "000007.index").touch()  # somebody removed its segment
    assert remove(kept_segments(folder.parent)) == []
    assert not folder.exists()


def test_it_goes_with_the_segment_that_was_compressed(folder: Path, segment: Path) -> None:
    compress(segment)
    assert remove(kept_segments(folder.parent)) == []
    assert not folder.exists()


def test_it_goes_with_an_empty_recording(folder: Path) -> None:
    path = folder / "000001.jsonl"
    path.write_bytes(content := sealed_bytes([], n=1))
    index_in_blocks(path, content, 100)
    remove_if_empty(folder)
    assert not folder.exists()


def test_a_recorder_killed_between_sealing_and_index_leaves_a_segment_that_gets_one(
    tmp_path: Path, new_recorder: NewRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = os.fork()
    if child == 0:
        recorder = new_recorder()
        # The index is named last, and that with this; the segment was, with `rename`.
        monkeypatch.setattr(Path, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        recorder.put("message", type="chat_send", data=b"x" * 2_000_000)
        recorder.close()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    names = sorted(path.name for path in folder.iterdir())
    assert names[0].startswith(".000001.index.")
    assert names[1:] == ["000001.jsonl"]
    assert len(numbers(folder, Selection(types=("chat_send",)))) == 1
    assert verify(folder).clean
    refresh_index(folder / "000001.jsonl", 0)
    assert index_of(folder / "000001.jsonl") is not None
    assert remove(kept_segments(tmp_path)) == []
    assert not folder.exists()
