"""What goes when room or time is over, and what never does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.retention import kept_segments, outlived, remove
from tests.storage.test_compressing import write

NOW = 1_800_000_000.0
DAY_S = 86_400


def recording(folder: Path, name: str, ages_days: list[float], *, now: float = NOW) -> None:
    (folder / name).mkdir()
    for number, age in enumerate(ages_days, 1):
        path = write(folder / name / f"{number:06}.jsonl")
        os.utime(path, (now - age * DAY_S, now - age * DAY_S))


def names(folder: Path, **limits: float | None) -> list[str]:
    gone = outlived(kept_segments(folder), now=NOW, **limits)  # type: ignore[arg-type]
    return [f"{each.recording}/{each.path.name}" for each in gone]


def test_what_is_too_old_goes_the_oldest_first(tmp_path: Path) -> None:
    recording(tmp_path, "rec_a", [9, 8])
    recording(tmp_path, "rec_b", [3, 1])
    assert names(tmp_path, keep_days=5) == ["rec_a/000001.jsonl", "rec_a/000002.jsonl"]
    assert names(tmp_path, keep_days=10) == []


def test_what_is_too_much_goes_until_the_rest_fits(tmp_path: Path) -> None:
    recording(tmp_path, "rec_a", [9, 8])
    recording(tmp_path, "rec_b", [3])
    size = (tmp_path / "rec_b" / "000001.jsonl").stat().st_size
    assert names(tmp_path, keep_bytes=2 * size) == ["rec_a/000001.jsonl"]
    assert len(names(tmp_path, keep_bytes=0)) == 3
    assert names(tmp_path, keep_bytes=3 * size) == []


def test_removing_takes_empty_folders_too_and_nothing_outside(tmp_path: Path) -> None:
    folder, outside = tmp_path / "recordings", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    kept = write(outside / "000001.jsonl")
    recording(folder, "rec_a", [9])
    recording(folder, "rec_b", [9])
    (folder / "rec_b" / "notes.txt").write_text("mine")
    (folder / "rec_link").symlink_to(outside)
    (folder / "rec_a" / "000002.jsonl").symlink_to(kept)
    assert remove(outlived(kept_segments(folder), keep_bytes=0)) == []
    assert kept.exists()
    assert (folder / "rec_b" / "notes.txt").exists()
    assert not (folder / "rec_a" / "000001.jsonl").exists()


def test_who_is_killed_while_removing_leaves_no_index_without_its_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording(tmp_path, "rec_a", [9])
    index = tmp_path / "rec_a" / "000001.index"
    index.write_text("{}")
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(outlived(kept_segments(tmp_path), keep_bytes=0))
    assert not index.exists()


def test_a_live_segment_stays_whatever_the_limits(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(), tool="t", upstream="ws://u")
    recorder.start()
    recorder.put("mark", note="live")
    assert recorder.flush(10)
    assert outlived(kept_segments(tmp_path), keep_bytes=0, keep_days=0) == []
    recorder.close()
    assert len(outlived(kept_segments(tmp_path), keep_bytes=0)) == 1


def test_a_recorder_keeps_no_more_than_it_may(tmp_path: Path) -> None:
    recording(tmp_path, "rec_0", [9, 8], now=time.time())
    settings = RecordingSettings(keep_days=5)
    recorder = Recorder(tmp_path, settings, tool="t", upstream="ws://u")
    recorder.start()
    recorder.put("mark", note="new")
    folder = recorder.close()
    assert folder is not None
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
