"""What is seen without a network: files, disk, keyring."""

from __future__ import annotations

import dataclasses
import os
import sys
import types
from pathlib import Path

import pytest

from megabot_cli.doctor import local
from megabot_cli.doctor.case import Case
from tests.doctor.cases import case_at, folders_in

URL = "ws://127.0.0.1:9/ws"


def case_in(home: Path) -> Case:
    return Case("0", folders=folders_in(home))


async def test_the_file_and_the_profile_in_force_are_told(tmp_path: Path) -> None:
    finding = await local.configuration(case_at(tmp_path, URL))
    assert finding.verdict == "ok"
    assert finding.facts["exists"] is False
    (tmp_path / "config.yaml").touch()
    finding = await local.configuration(case_at(tmp_path, URL))
    assert finding.message == f"{tmp_path / 'config.yaml'}; profile 'default'"


async def test_a_variable_that_sets_nothing_is_a_warning(tmp_path: Path) -> None:
    case = dataclasses.replace(case_at(tmp_path, URL), remarks=("MEGABOT_X sets nothing",))
    assert (await local.configuration(case)).verdict == "warn"


async def test_files_that_others_can_read_are_told_with_the_command_that_closes_them(
    tmp_path: Path,
) -> None:
    case = case_in(tmp_path)
    assert case.folders is not None
    assert (await local.permissions(case)).message == "there is nothing of ours yet"
    case.folders.credentials.mkdir(mode=0o700)
    secret = case.folders.credentials / "default.json"
    secret.touch(mode=0o600)
    assert (await local.permissions(case)).verdict == "ok"
    secret.chmod(0o644)
    case.folders.client_token.touch(mode=0o600)
    case.folders.client_token.chmod(0o640)
    finding = await local.permissions(case)
    assert finding.verdict == "warn"
    assert finding.fix == f"chmod 600 {secret} && chmod 600 {case.folders.client_token}"
    assert "-rw-r--r--" in finding.message


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
async def test_files_of_somebody_else_are_a_failure(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    assert case.folders is not None
    case.folders.client_token.touch(mode=0o600)
    os.chown(case.folders.client_token, 12345, 12345)
    finding = await local.permissions(case)
    assert (finding.verdict, finding.exit) == ("fail", 5)


@pytest.mark.parametrize(
    ("free", "verdict"), [(10 << 20, "fail"), (500 << 20, "warn"), (5 << 30, "ok")]
)
async def test_room_for_recordings_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
) -> None:
    usage = types.SimpleNamespace(total=free, used=0, free=free)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    finding = await local.disk(case_in(tmp_path))
    assert finding.verdict == verdict
    assert finding.facts["free_bytes"] == free
    if finding.fix is not None:  # alone `prune` removes nothing where no limit is set
        assert "`megabot recordings prune --keep-days N`" in finding.fix


async def test_where_nothing_is_recorded_no_room_is_needed(tmp_path: Path) -> None:
    case = Case("0", folders=folders_in(tmp_path), records=False)
    assert (await local.disk(case)).verdict == "ok"


async def test_a_folder_that_is_no_folder_is_told(tmp_path: Path) -> None:
    case = case_in(tmp_path)
    assert case.folders is not None
    case.folders.recordings.write_text("a file")
    finding = await local.disk(case)
    assert finding.verdict == "fail"
    assert "recording.folder" in str(finding.fix)


class FakeKeyring(types.ModuleType):
    """A module that stands where the `keyring` package would be, with one way to behave."""

    def __init__(self, way: str) -> None:
        super().__init__("keyring")
        self.way = way
        self.kept: dict[str, str] = {}

    def set_password(self, service: str, entry: str, secret: str) -> None:
        if self.way == "broken":
            raise RuntimeError("locked")
        if self.way == "works":
            self.kept[entry] = secret

    def get_password(self, service: str, entry: str) -> str | None:
        return self.kept.get(entry)

    def delete_password(self, service: str, entry: str) -> None:
        del self.kept[entry]


@pytest.mark.parametrize(
    ("way", "verdict", "says"),
    [
        ("works", "ok", "can be read again"),
        ("broken", "warn", "RuntimeError"),
        ("forgetful", "warn", "does not give back"),
    ],
)
async def test_the_keyring_is_tried_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, verdict: str, says: str
) -> None:
    keyring = FakeKeyring(way)
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    finding = await local.keyring(case_in(tmp_path))
    assert finding.verdict == verdict
    assert says in finding.message
    assert keyring.kept == {}


async def test_a_machine_without_a_keyring_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    finding = await local.keyring(case_in(tmp_path))
    assert (finding.verdict, finding.facts) == ("ok", {"works": False})
