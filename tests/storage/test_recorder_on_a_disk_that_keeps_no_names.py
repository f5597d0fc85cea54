"""A disk that keeps what is written to a file, and not the name that the file gets."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.verification import verify
from tests.storage.conftest import LIMIT_S, read


class Disk:
    """Refuses to keep the names in folders, so many times."""

    def __init__(self) -> None:
        self.refuses = 0
        self.fault = errno.EIO

    def fsync(self, descriptor: int, true: Callable[[int], None] = os.fsync) -> None:
        if self.refuses and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self.refuses -= 1
            raise OSError(self.fault, os.strerror(self.fault))
        true(descriptor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


@pytest.mark.parametrize("when", ["a segment is full", "the recording ends"])
@pytest.mark.parametrize(("refuses", "clean"), [(1, True), (10, False)])
def test_that_a_name_is_not_kept_is_told_once_and_the_recording_says_so(
    disk: Disk, tmp_path: Path, when: str, *, refuses: int, clean: bool
) -> None:
    told: list[str] = []
    recorder = Recorder(
        tmp_path,
        RecordingSettings(segment_bytes=4096),
        tool="t",
        upstream="ws://h/ws",
        on_fault=told.append,
    )
    recorder.start()
    recorder.put("mark", note="before")
    assert recorder.flush(LIMIT_S)
    disk.refuses = refuses
    if when == "a segment is full":
        for _ in range(15):
            recorder.put("mark", note="x" * 300)
    folder = recorder.close()
    assert folder is not None
    assert told == ["the recording cannot be written: Input/output error"]
    found = verify(folder)
    assert (found.clean, found.problems[1:]) == (clean, [])
    records = read(folder)
    assert records[0].note == "before"
    assert [record.kind for record in records[-2:]] == ["fault", "gap"]


@pytest.mark.parametrize("fault", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_be_asked_to_keep_names_records_all_the_same(
    disk: Disk, tmp_path: Path, fault: int
) -> None:
    settings = RecordingSettings(segment_bytes=4096)
    recorder = Recorder(tmp_path, settings, tool="t", upstream="ws://h/ws")
    disk.refuses, disk.fault = 1000, fault
    recorder.start()
    for _ in range(30):
        recorder.put("mark", note="x" * 300)
    folder = recorder.close()
    assert folder is not None
    assert recorder.healthy
    assert verify(folder).clean
    assert len(read(folder)) == 30
    assert len(list(folder.glob("*.jsonl"))) > 1
