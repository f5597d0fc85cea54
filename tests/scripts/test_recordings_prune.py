"""Old recordings are let go, as an operator types it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.scripts.conftest import Operator
from tests.support.disks import small_disk

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


def test_prune_says_what_goes_and_wants_a_word_before_it_does(
    stranger: Operator, tmp_path: Path
) -> None:
    folder = stranger.home / "recordings" / "rec_old"
    folder.mkdir(parents=True)
    shutil.copy(SEALED / "000001.jsonl", folder)
    assert stranger.types("recordings", "prune").returncode == 2
    refused = stranger.types("recordings", "prune", "--keep-bytes", "0")
    assert refused.returncode == 2
    assert "Add --yes" in refused.stderr
    shown = stranger.types("recordings", "prune", "--keep-bytes", "0", "--dry-run", "--json")
    assert [each["recording"] for each in json.loads(shown.stdout)["segments"]] == ["rec_old"]
    assert folder.exists()
    done = stranger.types("recordings", "prune", "--keep-bytes", "0", "--yes")
    assert (done.returncode, folder.exists()) == (0, False)
    assert "removed 1 segment" in done.stderr
    assert stranger.types("recordings", "prune", "--keep-bytes", "lots").returncode == 2


def test_prune_ends_with_14_where_nothing_can_be_removed_and_names_the_first(
    stranger: Operator, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        for name in ("rec_1", "rec_2"):
            shutil.copytree(SEALED, disk / name)
        before = sorted(disk.rglob("*"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        folder = {"MEGABOT_RECORDING_FOLDER": str(disk)}
        done = stranger.types("rec", "prune", "--keep-bytes", "0", "--yes", env=folder)
        assert done.returncode == 14
        assert "6 of 6 segments could not be removed; the first, " in done.stderr
        assert f"{disk}/rec_1/000001.jsonl: Read-only file system" in done.stderr
        assert sorted(disk.rglob("*")) == before


def test_prune_of_many_leaves_what_is_written_and_what_a_reader_has_open(
    stranger: Operator, tmp_path: Path
) -> None:
    kept = stranger.home / "recordings"
    day_s = 86_400
    for days in range(60):
        folder = kept / f"rec_{days:02d}"
        folder.mkdir(parents=True)
        shutil.copy(SEALED / "000001.jsonl", folder)
        at = time.time() - (60 - days) * day_s
        os.utime(folder / "000001.jsonl", (at, at))
    live = kept / "rec_live"
    live.mkdir()
    with (
        (live / "000001.jsonl.part").open("wb") as written,
        (kept / "rec_00" / "000001.jsonl").open("rb") as read,
    ):
        fcntl.flock(written, fcntl.LOCK_EX)
        os.utime(live / "000001.jsonl.part", (0, 0))
        whole = (SEALED / "000001.jsonl").read_bytes()
        size = str(10 * len(whole))
        for limit, gone in ((("--keep-days", "30.5"), 30), (("--keep-bytes", size), 20)):
            dry = stranger.types("rec", "prune", *limit, "--dry-run", "--json")
            facts = json.loads(dry.stdout)
            assert (len(facts["segments"]), facts["bytes"]) == (gone, gone * len(whole))
            done = stranger.types("rec", "prune", *limit, "--yes")
            assert (done.returncode, f"removed {gone} segments" in done.stderr) == (0, True)
        assert sorted(path.name for path in kept.iterdir()) == [
            *(f"rec_{days}" for days in range(50, 60)),
            "rec_live",
        ]
        assert read.read() == whole


def test_single_files_that_an_operator_made_are_listed_searched_and_never_pruned(
    stranger: Operator,
) -> None:
    kept = stranger.home / "recordings"
    shutil.copytree(SEALED, kept / "rec_whole")
    part = kept / "part.jsonl"
    assert stranger.types("rec", "cut", "last", str(part), "--limit", "3").returncode == 0
    listed = stranger.types("rec", "list").stdout.splitlines()[1:]
    assert [line.split()[0].startswith("rec_") for line in listed] == [True, False]
    assert listed[1].split()[0] == "part.jsonl"
    paths = stranger.types("rec", "list", str(kept), "--fields", "path").stdout.splitlines()
    assert paths == [str(kept / "rec_whole"), str(part)]
    assert stranger.types("rec", "verify", "part.jsonl").returncode == 0
    names = stranger.types("rec", "grep", "", "--names").stdout.splitlines()
    assert names[0] == "part.jsonl"
    assert stranger.types("rec", "prune", "--keep-bytes", "0", "--yes").returncode == 0
    assert [each.name for each in kept.iterdir()] == ["part.jsonl"]
