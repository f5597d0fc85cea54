"""A file that is made whole or not at all, for its owner alone."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from megabot_cli.errors import MegabotError, NotPermitted, WrongUsage, is_disk_full
from megabot_cli.storage.segment_writer import sync_folder

# What a file system says that has no second names: FAT, exFAT, SMB, some in user space.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class NewFile(AbstractContextManager["NewFile"]):
    """What is written goes to a nameless neighbour; leaving without a fault gives it its name.

    The file is 0600. WrongUsage when something has that name already, unless it is a file and
    `replace` is given, or when there is no such folder; NotPermitted where we may not write;
    MegabotError where the disk refuses.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self._path = path
        self._replace = replace
        self._file: BinaryIO | None = None
        self._written = Path()

    def __enter__(self) -> Self:
        self._refuse_what_is_there()
        try:
            self._make()
        except OSError as fault:
            raise self._refused(fault) from fault
        except BaseException:  # a signal, when the file may be there
            self._abandon()
            raise
        return self

    def _make(self) -> None:
        # The name is known before there is a file, or a signal in between would leave it behind.
        self._written = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._written, flags, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=256 * 1024)

    def write(self, content: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(content)
        except OSError as fault:
            raise self._refused(fault) from fault

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if fault is None:
                self._finish()
        except OSError as refused:
            raise self._refused(refused) from refused
        finally:
            self._abandon()

    def _finish(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._replace:
            self._refuse_what_is_there()
            self._written.replace(self._path)
        else:
            try:
                self._path.hardlink_to(self._written)  # fails where a rename would overwrite
            except FileExistsError:
                raise self._there_already() from None
            except OSError as fault:
                if fault.errno not in _NO_LINKS:
                    raise
                self._refuse_what_is_there()
                self._written.replace(self._path)
        sync_folder(self._path.parent)

    def _abandon(self) -> None:
        """Let go of the file, and of the name that it was written under."""
        try:
            if self._file is not None:
                self._file.close()
        except OSError:
            pass  # a full disk, which was told already
        finally:
            self._written.unlink(missing_ok=True)

    def _refuse_what_is_there(self) -> None:
        try:
            mode = self._path.lstat().st_mode
        except OSError:
            return
        if not stat.S_ISREG(mode):
            raise WrongUsage(
                f"{self._path} is no file that could be replaced.", "- writes to standard output."
            )
        if not self._replace:
            raise self._there_already()

    def _there_already(self) -> WrongUsage:
        return WrongUsage(f"{self._path} is there already.", "--force replaces it.")

    def _refused(self, fault: OSError) -> MegabotError:
        what = f"{self._path} cannot be written: {fault.strerror or fault}."
        if isinstance(fault, FileNotFoundError | NotADirectoryError):
            return WrongUsage(what, f"There is no folder {self._path.parent}; make it first.")
        if isinstance(fault, PermissionError) or fault.errno == errno.EROFS:
            return NotPermitted(what, "Name a file in a folder of your own.")
        hint = "Make room, or write somewhere else." if is_disk_full(fault) else None
        return MegabotError(what, hint)
