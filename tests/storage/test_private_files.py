"""A file of ours is whole or as it was, and nothing half written stays beside it."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from megabot_cli.storage.private_files import replace_private


def test_a_disk_without_room_keeps_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    replace_private(path, b"as it was")
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            replace_private(path, b"x" * 5000)
        except OSError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert path.read_bytes() == b"as it was"


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path, is_link: bool) -> None:
    fifo, named = tmp_path / "fifo", tmp_path / "named"
    os.mkfifo(fifo)
    named.symlink_to(fifo)
    path = named if is_link else fifo
    with pytest.raises(FileExistsError, match="no plain file"):
        replace_private(path, b"x")
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert path.is_symlink() == is_link
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fifo", "named"]
