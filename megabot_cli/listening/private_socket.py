"""Sockets in the file system, for whoever runs this program and nobody else."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from pathlib import Path


def bind_private_socket(path: Path, *, backlog: int) -> socket.socket:
    """Listen on a socket file for its owner alone. One that a crash left behind is replaced.

    OSError where it cannot be, also where somebody listens there already.
    """
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            door.bind(str(path))
        except OSError as fault:
            if fault.errno != errno.EADDRINUSE or not _is_left_behind(path):
                raise
            path.unlink()
            door.bind(str(path))
        # Nobody gets in between: a socket that does not listen yet refuses.
        path.chmod(0o600)
        door.listen(backlog)
    except OSError:
        door.close()
        raise
    return door


def _is_left_behind(path: Path) -> bool:
    if not stat.S_ISSOCK(path.stat().st_mode):
        return False
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
