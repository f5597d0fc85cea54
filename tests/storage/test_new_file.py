"""A new file is there whole or not at all, for its owner alone."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from megabot_cli.errors import MegabotError, WrongUsage
from megabot_cli.storage.new_file import NewFile
from tests.support.disks import small_disk


class Stopped(BaseException):
    """What ends work in the middle, as Ctrl-C does."""


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with NewFile(path) as file:
        file.write(b"some")
        assert not path.exists()
    assert path.read_bytes() == b"some"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with NewFile(tmp_path / "x") as file:
            file.write(b"some")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


@pytest.mark.parametrize("replace", [False, True])
def test_work_that_is_stopped_leaves_nothing_and_harms_nothing(
    tmp_path: Path, replace: bool
) -> None:
    path = tmp_path / "x"
    if replace:
        path.write_bytes(b"old")

    def stop_in_the_middle() -> None:
        with NewFile(path, replace=replace) as file:
            file.write(b"new")
            raise Stopped

    with pytest.raises(Stopped):
        stop_in_the_middle()
    assert [each.read_bytes() for each in tmp_path.iterdir()] == ([b"old"] if replace else [])


# A file object that was just being made is closed by the collector, which tells of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    def stop_once_it_is_there() -> None:
        while not os.listdir(tmp_path):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    def make_until_stopped() -> None:
        with NewFile(tmp_path / "x") as file:
            while True:
                file.write(b"new")

    before = signal.signal(signal.SIGINT, stop)
    try:
        for _ in range(50):
            watcher = threading.Thread(target=stop_once_it_is_there)
            watcher.start()
            with pytest.raises(Stopped):
                make_until_stopped()
            watcher.join()
            assert os.listdir(tmp_path) == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def make_while_somebody_else_does() -> None:
        with NewFile(path) as file:
            file.write(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(WrongUsage, match="there already"):
        make_while_somebody_else_does()
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"theirs"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_link_is_not_followed(tmp_path: Path, replace: bool) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "x").symlink_to(tmp_path / "target")
    with pytest.raises(WrongUsage), NewFile(tmp_path / "x", replace=replace) as file:
        file.write(b"new")
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MegabotError, match="No such file"), NewFile(tmp_path / "no" / "x"):
        raise AssertionError


def test_a_folder_that_is_none_is_wrong_usage(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    for folder in ("none", "file"):
        with (
            pytest.raises(WrongUsage, match="cannot be written") as caught,
            NewFile(tmp_path / folder / "x"),
        ):
            pass
        assert caught.value.hint == f"There is no folder {tmp_path / folder}; make it first."


def test_what_the_disk_has_no_room_for_leaves_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        with (
            pytest.raises(MegabotError, match="No space left") as caught,
            NewFile(disk / "x") as file,
        ):
            file.write(b"x" * 1_000_000)
        assert caught.value.hint == "Make room, or write somewhere else."
        assert list(disk.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_where_files_have_one_name_only_one_is_made_all_the_same_and_none_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with NewFile(tmp_path / "x") as file:
        file.write(b"new")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"new"]
    with pytest.raises(WrongUsage, match="there already"), NewFile(tmp_path / "y"):
        (tmp_path / "y").write_bytes(b"another's")
    assert (tmp_path / "y").read_bytes() == b"another's"
