"""Where a running relay can be found by the other commands.

One JSON file for each relay and profile, 0600, written when the relay is ready and removed when
it stops. After a `kill -9` the file stays until the next relay starts; a reader checks that the
process is alive. Of several relays that serve one profile the newest is the one that is meant,
and when that stops, the one before it.
"""

from __future__ import annotations

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
    upstream: str  # its origin
    token_file: str
    started_at: float
    recording: str | None = None
    ca_file: str | None = None  # to trust, where clients are served with TLS
    upstream_path: str = "/ws"  # of the socket there; its query may hold secrets


def write_run_file(folder: Path, relay: RunningRelay) -> Path:
    """Say that `relay` runs. The folder is made when missing, for its owner alone."""
    for path, found in _written(folder):
        if not _alive(found.pid):
            path.unlink(missing_ok=True)
    path = folder / f"relay-{relay.profile}-{relay.pid}.json"
    replace_private(path, msgspec.json.encode(relay))
    return path


def remove_run_file(folder: Path, profile: str, pid: int) -> None:
    """Remove the file of that relay."""
    for path, found in _written(folder):
        if (found.profile, found.pid) == (profile, pid):
            path.unlink(missing_ok=True)


def find_running_relay(folder: Path, profile: str) -> RunningRelay | None:
    """The relay that serves `profile`, the newest if there are several; None when there is none
    alive."""
    serving = [found for found in running_relays(folder) if found.profile == profile]
    return max(serving, key=lambda found: found.started_at, default=None)


def running_relays(folder: Path) -> list[RunningRelay]:
    """Every relay that is alive, once for each profile that it serves."""
    return [found for _, found in _written(folder) if _alive(found.pid)]


def _written(folder: Path) -> list[tuple[Path, RunningRelay]]:
    found = [(path, _read(path)) for path in folder.glob("relay-*.json")]
    return [(path, relay) for path, relay in found if relay is not None]


def _read(path: Path) -> RunningRelay | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunningRelay)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process, but there
    return not _only_waits_to_be_reaped(pid)


def _only_waits_to_be_reaped(pid: int) -> bool:
    """Whether a killed process is left as a zombie: in a container often nobody reaps."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False  # no Linux, or none of ours to look at
    return stat.rpartition(b")")[2].split()[:1] == [b"Z"]
