"""What a recorder does that cannot keep up, or cannot write: it blocks, leaves gaps, says so."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Literal

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.verification import verify
from tests.storage.conftest import LIMIT_S, NewRecorder, read, recorder_with


def test_a_folder_that_cannot_be_made_is_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(tmp_path / "file", RecordingSettings(), tool="t", upstream="ws://h/ws")
    with pytest.raises(BadConfiguration, match="Cannot record") as refused:
        recorder.start()
    assert "--record DIR or `recording.folder`" in (refused.value.hint or "")
    recorder.put("mark")
    assert recorder.dropped == 1
    assert recorder.close() is None


def test_pressure_blocks_until_half_is_written(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_records=50, flush_s=1)
    for number in range(50):
        assert not recorder.must_wait
        recorder.put("mark", note=str(number))
    assert recorder.must_wait
    recorder.put("mark", note="50")  # a reader that was too late to stop loses nothing
    wait_until(lambda: not recorder.must_wait)
    recorder.close()
    assert [record.note for record in read(recorder.folder)] == [str(n) for n in range(51)]
    assert (recorder.blocks, recorder.lost, recorder.dropped) == (1, 0, 0)


def test_bytes_are_pressure_as_well(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_bytes=1000, flush_s=1)
    recorder.put("message", data="x" * 1000)
    assert recorder.blocks == 1
    wait_until(lambda: not recorder.must_wait)


def test_a_gap_says_how_much_was_dropped_and_where(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_records=50, flush_s=1, on_pressure="gap")
    total = 0
    for _ in range(3):
        while recorder.gaps == 0 or total % 100:
            recorder.put("message", data=f"{total:04}")
            total += 1
        assert recorder.flush(LIMIT_S)
        recorder.put("message", data=f"{total:04}")
        total += 1
    recorder.close()
    records = read(recorder.folder)
    seen = -1
    for record in records:
        if record.kind == "gap":
            assert record.lost_bytes == 4 * (record.lost or 0)
            seen += record.lost or 0
        else:
            seen += 1
            assert record.data == f"{seen:04}"
    assert seen == total - 1
    assert recorder.lost > 0
    found = verify(recorder.folder)
    assert found.clean, found.problems
    assert (found.lost, found.gaps) == (recorder.lost, recorder.gaps)
    assert not recorder.must_wait


def test_a_gap_at_the_very_end_is_written_too(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_records=10, flush_s=1, on_pressure="gap")
    for _ in range(30):
        recorder.put("message", data="x")
    recorder.close()
    last = read(recorder.folder)[-1]
    assert (last.kind, last.lost, last.lost_bytes) == ("gap", recorder.lost, recorder.lost)
    assert recorder.lost == 30 - recorder.records_written + 1


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("fsync", ["never", "interval"])
def test_a_recording_that_somebody_removed_is_not_healthy(
    tmp_path: Path, fsync: Literal["never", "interval"], apart: bool
) -> None:
    faults: list[str] = []
    recorder = Recorder(
        tmp_path,
        RecordingSettings(fsync=fsync),
        tool="t",
        upstream="ws://h/ws",
        on_fault=faults.append,
        apart=apart,
    )
    recorder.start()
    recorder.put("mark", note="before")
    assert recorder.flush(LIMIT_S)
    shutil.rmtree(recorder.folder)
    deadline = time.monotonic() + LIMIT_S
    while recorder.healthy and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(faults) == 1
    assert "has been removed" in faults[0]
    assert str(recorder.folder) in faults[0]
    recorder.put("mark", note="after")
    assert recorder.dropped == 1
    recorder.close()


def test_closing_twice_and_putting_afterwards_is_harmless(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    recorder.put("mark")
    assert recorder.close() == recorder.close() == recorder.folder
    recorder.put("mark")
    assert recorder.dropped == 1
    assert verify(recorder.folder).clean
    assert "recorder" not in {thread.name for thread in threading.enumerate()}


def test_the_age_of_the_oldest_record_that_waits_is_told(tmp_path: Path) -> None:
    ticks = count(0, 1_000_000_000)
    recorder = recorder_with(tmp_path, lambda: next(ticks))
    assert recorder.lag_s == 0.0
    recorder.start()
    recorder.close()
    assert recorder.lag_s == 0.0


def test_a_record_that_the_disk_holds_up_waits_also_when_none_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hangs(descriptor: int, true: Callable[[int], None] = os.fsync) -> None:
        let_go.wait(LIMIT_S)
        true(descriptor)

    monkeypatch.setattr(os, "fsync", hangs)
    settings = RecordingSettings(fsync="always")
    recorder = Recorder(tmp_path, settings, tool="t", upstream="ws://h/ws")
    recorder.start()
    recorder.put("mark")
    wait_until(lambda: recorder.lag_s > 0.5)
    assert recorder.depth == 1
    let_go.set()
    assert recorder.flush(LIMIT_S)
    assert recorder.lag_s == 0.0
    recorder.close()


def wait_until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(int(LIMIT_S / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it never became so")
