"""Files that hold secrets: made with their mode, replaced whole, never half written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

FOLDER_MODE = 0o700


def replace_private(path: Path, content: bytes, *, held: bool = False) -> None:
    """Put `content` at `path` (0600), so that a reader sees the old file or the new one.

    The new one begins as `.NAME.` and eight characters. With `held` it is locked until it has
    its name: one that nobody holds was left by a writer who was killed (`is_held`).
    FileExistsError where something is there, or at the end of a link, that is no plain file:
    whoever may write in /dev would lose a device.
    """
    _refuse_what_is_no_file(path)
    with _written_beside(path, content, held=held) as written:
        written.replace(path)


def _refuse_what_is_no_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # nothing is there, or whoever writes it hears why not
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, "it is no plain file", str(path))


def create_private(path: Path, content: bytes) -> bool:
    """Put `content` at `path` (0600) unless something is there already; say whether we did.

    Two processes that start at the same time agree on the file of the first.
    """
    with _written_beside(path, content) as written:
        try:
            path.hardlink_to(written)
        except FileExistsError:
            return False
    return True


def is_held(path: Path) -> bool:
    """Whether a living process has locked this file (`flock`), or nobody can know."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True  # held, or on a file system without locks: leave it be
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def _written_beside(path: Path, content: bytes, *, held: bool = False) -> Iterator[Path]:
    """A neighbour of `path` that holds `content`, until the end, if it has that name still."""
    import tempfile  # 6 ms, which who only reads does not wait for

    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    # mkstemp makes the file 0600 whatever the umask is.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if held:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            yield Path(name)
    finally:  # a full disk needs the room, and a signal leaves nothing half written
        Path(name).unlink(missing_ok=True)
