"""Files that hold secrets: made with their mode, replaced whole, never half written."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_MODE = 0o700


def replace_private(path: Path, content: bytes) -> None:
    """Put `content` at `path` (0600), so that a reader sees the old file or the new one."""
    written = _write_beside(path, content)
    try:
        written.replace(path)
    except OSError:
        written.unlink(missing_ok=True)
        raise


def create_private(path: Path, content: bytes) -> bool:
    """Put `content` at `path` (0600) unless something is there already; say whether we did.

    Two processes that start at the same time agree on the file of the first.
    """
    written = _write_beside(path, content)
    try:
        path.hardlink_to(written)
    except FileExistsError:
        return False
    finally:
        written.unlink(missing_ok=True)
    return True


def _write_beside(path: Path, content: bytes) -> Path:
    import tempfile  # 6 ms, which who only reads does not wait for

    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    # mkstemp makes the file 0600 whatever the umask is.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # a full disk needs the room, and a signal leaves nothing half written
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
