"""What the program keeps for itself, where the disk takes nothing: full, or only to be read."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from pathlib import Path

import pytest

from tests.scripts.conftest import Operator
from tests.support.disks import fill, only_read, small_disk

RELAY = "relay --no-record --listen :0 --admin-listen :0"
USE = "config use staging"
PROFILES = "profiles:\n  staging: {url: 'ws://127.0.0.1:9/ws'}\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [("size=64k,ro", "Read-only file system"), ("size=64k", "No space left on device")],
)
@pytest.mark.parametrize("command", [RELAY, USE])
def test_what_cannot_be_kept_is_told_with_what_helps(
    ann: Operator, tmp_path: Path, command: str, options: str, says: str
) -> None:
    settings = tmp_path / "config.yaml"
    settings.write_text(PROFILES)
    with small_disk(tmp_path / "disk", options) as disk:
        if "ro" not in options:
            full(disk)
        here = {"MEGABOT_HOME": str(disk), "MEGABOT_CONFIG": str(settings)}
        token = {"MEGABOT_TOKEN": ann.types("token").stdout.strip()}
        done = Operator(disk, ann.url).types(*shlex.split(command), env={**here, **token})
        assert done.returncode == 12, done.stderr
        assert f"cannot be written: {says}" in done.stderr
        assert str(disk) in done.stderr
        assert "MEGABOT_HOME" in done.stderr


@pytest.mark.parametrize(
    ("options", "helps"),
    [
        ("size=64k,ro", "hint: Name another folder with --data.\n"),
        ("size=64k", "hint: Make room, or name another folder with --data.\n"),
    ],
)
def test_a_gateway_that_can_keep_nothing_is_not_told_to_move_a_file(
    ann: Operator, tmp_path: Path, options: str, helps: str
) -> None:
    with small_disk(tmp_path / "disk", options) as disk:
        if "ro" not in options:
            full(disk)
        done = ann.types("gateway", "--listen", ":0", "--data", str(disk))
    assert done.returncode == 12, done.stderr
    assert done.stderr.endswith(helps), done.stderr


def test_a_folder_on_a_disk_that_is_only_read_needs_no_chmod(ann: Operator, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=64k,ro") as disk:
        done = ann.types("doctor", env={"MEGABOT_HOME": str(disk)})
    assert done.returncode == 5
    assert "Set MEGABOT_HOME to a folder of your own." in done.stdout
    assert "chmod" not in done.stdout


@pytest.mark.parametrize(
    "command", ["config use default", "config use --forget", "logout", "logout --all"]
)
def test_what_has_nothing_to_remove_needs_no_disk_to_write_on(
    ann: Operator, tmp_path: Path, command: str
) -> None:
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        (disk / "credentials").mkdir()
        with only_read(disk):
            done = ann.types(*shlex.split(command), env={"MEGABOT_HOME": str(disk)})
    assert done.returncode == 0, done.stderr


def test_a_renewed_token_that_finds_no_room_is_used_and_told(gateway: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=64k,mode=700") as disk:
        ann = with_a_token_that_has_ended(disk, gateway)
        full(disk)
        done = ann.types("send", "hello")
    assert done.returncode == 0, done.stderr
    kept = disk / "credentials" / "default.json"
    says = "No space left on device. The stored one may be spent: Make room, or name another folder"
    assert f"could not be stored: Credentials cannot be kept at {kept}: {says}" in done.stderr
    assert done.stderr.endswith("Then `megabot login` stores a good one.\n")


def test_on_a_disk_that_is_only_read_no_token_is_spent_on_one_that_could_not_be_stored(
    gateway: str, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=64k,mode=700") as disk:
        ann = with_a_token_that_has_ended(disk, gateway)
        with only_read(disk):
            done = ann.types("send", "hello")
        assert (done.returncode, "Read-only file system" in done.stderr) == (12, True), done.stderr
        done = ann.types("send", "hello")
    assert done.returncode == 0, done.stderr


def with_a_token_that_has_ended(disk: Path, gateway: str) -> Operator:
    """Somebody whose next command renews it, once."""
    ann = Operator(disk, gateway)
    ann.logs_in()
    kept = disk / "credentials" / "default.json"
    stored = json.loads(kept.read_text())
    stored["credential"]["expires_at"] = time.time() - 1
    kept.write_text(json.dumps(stored))
    return ann


def test_where_a_new_configuration_finds_no_room_both_old_files_stay(
    ann: Operator, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        file, kept = disk / "config.yaml", disk / "config.yaml.bak"
        file.write_text("limits:\n  queue: 7\n")
        kept.write_text("limits:\n  queue: 8\n")
        full(disk)
        done = ann.types("config", "init", "--yes", env={"MEGABOT_HOME": str(disk)})
        assert done.returncode == 12
        assert "No space left on device" in done.stderr
        assert [each.read_text()[-2:-1] for each in (file, kept)] == ["7", "8"]
        assert sorted(each.name for each in disk.iterdir()) == [file.name, kept.name, "fill"]


def full(disk: Path) -> None:
    with contextlib.suppress(OSError):
        fill(disk / "fill")
