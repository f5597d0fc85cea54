"""Where a running relay can be found by the other commands.

One JSON file per profile, 0600, written when the relay is ready and removed when it stops.
After a `kill -9` the file stays; a reader checks that the process is alive.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from megabot_cli.storage.private_files import replace_private


class RunningRelay(msgspec.Struct, frozen=True):
    """What a command needs to reach a relay."""

    pid: int
    profile: str
    url: str
    tap_url: str
    admin_url: str
    upstream: str
    token_file: str
    started_at: float
    recording: str | None = None
    ca_file: str | None = None  # to trust, where clients are served with TLS


def _path(folder: Path, profile: str) -> Path:
    return folder / f"relay-{profile}.json"


def write_run_file(folder: Path, relay: RunningRelay) -> Path:
    """Say that `relay` runs. The folder is made when missing, for its owner alone."""
    path = _path(folder, relay.profile)
    replace_private(path, msgspec.json.encode(relay))
    return path


def remove_run_file(folder: Path, profile: str, pid: int) -> None:
    """Remove the file, unless another relay has written its own since."""
    found = _read(_path(folder, profile))
    if found is not None and found.pid == pid:
        with contextlib.suppress(FileNotFoundError):
            _path(folder, profile).unlink()


def find_running_relay(folder: Path, profile: str) -> RunningRelay | None:
    """The relay that serves `profile`, or None when there is none alive."""
    found = _read(_path(folder, profile))
    return found if found is not None and _alive(found.pid) else None


def _read(path: Path) -> RunningRelay | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunningRelay)
    except (OSError, msgspec.DecodeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process, but there
    return True
