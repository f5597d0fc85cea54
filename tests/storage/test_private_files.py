"""A file of ours is whole or as it was, and nothing half written stays beside it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

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
