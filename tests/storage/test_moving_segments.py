"""A recording that is read while its writer seals, packs and removes segments."""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from megabot_cli.errors import BadData
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.losses import with_losses
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_folder import is_live, segments_of, unclean_end
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recordings_list import list_recordings
from megabot_cli.storage.verification import verify
from tests.storage.conftest import LIMIT_S, NewRecorder

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


@pytest.fixture
def live(tmp_path: Path) -> Path:
    folder = tmp_path / "live"
    shutil.copytree(SEALED, folder)
    (folder / "000003.jsonl").rename(folder / "000003.jsonl.part")
    return folder


def test_what_is_sealed_or_packed_meanwhile_is_read_all_the_same(live: Path) -> None:
    with open_recording(SEALED) as reader:
        whole = list(reader)
    with open_recording(live) as reader:
        records = iter(reader)
        read = [next(records)]
        second = live / "000002.jsonl"
        (live / "000002.jsonl.gz").write_bytes(gzip.compress(second.read_bytes()))
        second.unlink()
        (live / "000003.jsonl.part").rename(live / "000003.jsonl")
        read += records
        assert (reader.clean, reader.warnings) == (True, [])
    assert read == whole


def test_what_is_removed_meanwhile_is_told(live: Path) -> None:
    with open_recording(live) as reader:
        records = iter(reader)
        first = next(records)
        (live / "000002.jsonl").unlink()
        read = [first, *records]
        assert reader.warnings == ["000002.jsonl: removed while the recording was read"]
        assert not reader.clean
    assert read[-1].n > 20
    with open_recording(SEALED, strict=True) as whole, open_recording(live, strict=True) as reader:
        assert len(read) < len(list(whole))
        (live / "000003.jsonl.part").unlink()
        with pytest.raises(BadData, match="removed while"):
            list(reader)


@contextmanager
def meanwhile(does: Callable[[], object]) -> Iterator[None]:
    """Do it again and again on a thread of its own."""
    over = threading.Event()

    def again_and_again() -> None:
        while not over.is_set():
            does()

    thread = threading.Thread(target=again_and_again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def sealing_segments(recorder: Recorder) -> Iterator[None]:
    """It has one segment, and more all the time."""

    def record_a_segment() -> None:
        for _ in range(15):
            recorder.put("message", data="x" * 300)
        recorder.flush(LIMIT_S)

    record_a_segment()
    with meanwhile(record_a_segment):
        yield


def test_a_segment_that_gets_another_name_is_seen_under_one_of_the_two(live: Path) -> None:
    plain, packed = live / "000002.jsonl", live / "000002.jsonl.zst"

    def rename_twice() -> None:
        plain.rename(packed)
        packed.rename(plain)

    with meanwhile(rename_twice):
        for _ in range(2000):
            assert [path.name[:6] for path in segments_of(live)] == ["000001", "000002", "000003"]


def test_of_a_recording_whose_segments_are_sealed_all_the_time_nothing_is_told_lost(
    new_recorder: NewRecorder, tmp_path: Path
) -> None:
    recorder = new_recorder(segment_bytes=4096, flush_s=0.01, writer="thread")
    with sealing_segments(recorder):
        while recorder.segments < 200:
            with open_any(recorder.folder) as reader:
                told = [record for record, _ in with_losses(reader) if record.kind != "message"]
                assert told == []
            found = verify(recorder.folder)
            assert (found.holes, found.clean) == (0, False)
            assert [info.id for info in list_recordings(tmp_path)] == [recorder.id]


def test_a_recording_whose_segments_are_sealed_all_the_time_is_listed_as_live(
    new_recorder: NewRecorder, tmp_path: Path
) -> None:
    recorder = new_recorder(segment_bytes=4096, flush_s=0.01, writer="thread")
    with sealing_segments(recorder):
        while recorder.segments < 200:
            (info,) = list_recordings(tmp_path)
            assert (info.live, info.clean) == (True, False)
            assert unclean_end(tmp_path) is None
    recorder.close()
    (info,) = list_recordings(tmp_path)
    assert (info.live, info.clean) == (False, True)


def test_a_segment_that_was_made_just_now_is_live_and_one_that_a_crash_left_is_not(
    tmp_path: Path,
) -> None:
    part = tmp_path / "000001.jsonl.part"
    part.touch()
    descriptor = os.open(part, os.O_RDONLY)
    holding = threading.Timer(0.005, fcntl.flock, (descriptor, fcntl.LOCK_EX))
    holding.start()
    assert is_live(tmp_path, part)
    holding.join()
    os.close(descriptor)
    assert not is_live(tmp_path, part)
