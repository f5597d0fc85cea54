"""One segment on disk: made for its owner alone, written in whole lines, sealed at the end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from megabot_cli.recording.format_v1 import End, Header, encode_end, encode_header
from megabot_cli.recording.record import MessageLine, Record
from megabot_cli.recording.segment_index import IndexBuilder
from megabot_cli.storage.index_file import write_index_of_sealed
from megabot_cli.storage.private_files import is_held

PART = ".part"


class SegmentWriter:
    """The segment under way, `NNNNNN.jsonl.part` until `seal`.

    The file is locked (`flock`) as long as this process has it open: a `.part` that nobody
    holds was left by a crash. Raises OSError where the disk does; what stands in the file is
    whole lines all the same.
    """

    def __init__(self, folder: Path, header: Header) -> None:
        self.name = segment_name(header.segment)
        self.sealed_path = folder / self.name
        self.path = folder / (self.name + PART)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)
        self._digest = hashlib.sha256()
        self._counts: Counter[str] = Counter()
        self._first_t: int | None = None
        self._last_t = 0
        self._redactions = 0
        self._unsynced = False
        self._end: End | None = None
        self._before_end: tuple[int, hashlib._Hash] | None = None
        self.records = 0
        self.bytes = 0
        try:
            _hold(self._descriptor)
            self._append(encode_header(header))
            self._index = IndexBuilder(self.bytes)
        except OSError:
            self.discard()
            raise

    def write(
        self, lines: bytes, records: Sequence[Record | MessageLine], *, redactions: int
    ) -> None:
        """Append the lines of records, which are in order, in one write, or none of them."""
        self._append(lines)
        self._index.add_ordered(len(lines), records)
        self.records += len(records)
        self._counts.update([record.kind for record in records])
        if self._first_t is None:
            self._first_t = records[0].t
        self._last_t = records[-1].t
        self._redactions += redactions

    def sync(self) -> None:
        """Have the disk keep what was written."""
        if self._unsynced:
            os.fsync(self._descriptor)
            self._unsynced = False

    def look_for_it(self) -> None:
        """FileNotFoundError where somebody has removed the file: nobody will read what is
        written to it."""
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, f"{self.path} has been removed")

    def seal(self, n: int, t: int) -> None:
        """Write the `end` record (number `n`, at `t`), give the file its final name, and put its
        index beside it."""
        self.write_end(n, t)
        self.finish()

    def write_end(self, n: int, t: int) -> None:
        """Write the `end` record; `finish` or `take_back_end` follows."""
        end = End(
            n=n,
            t=t,
            records=self.records,
            bytes=self.bytes,
            first_t=self._first_t,
            last_t=self._last_t if self.records else None,
            counts=dict(self._counts),
            redactions=self._redactions,
            sha256=self._digest.hexdigest(),
        )
        self._before_end = self.bytes, self._digest.copy()
        self._append(encode_end(end))
        self._end = end

    def take_back_end(self) -> None:
        """The segment goes on after all."""
        assert self._before_end is not None
        self.bytes, self._digest = self._before_end
        self._end = self._before_end = None
        self._cut_back()

    def finish(self) -> None:
        """Have the disk keep it, under its final name. OSError leaves it as before, without its
        end."""
        end = self._end
        assert end is not None
        try:
            self.sync()
            self.path.rename(self.sealed_path)
            sync_folder(self.path.parent)
        except OSError:
            with contextlib.suppress(OSError):  # it may not have the name yet
                self.sealed_path.rename(self.path)
            self.take_back_end()
            raise
        self.abandon()
        # Who searches the segment without one makes it, or does without.
        with contextlib.suppress(OSError):
            write_index_of_sealed(self.sealed_path, end, self._index)

    def abandon(self) -> None:
        """Close the file as it is. May be called more than once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Close and remove the file; for one that no record was written to."""
        self.abandon()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _append(self, lines: bytes) -> None:
        view = memoryview(lines)
        written = 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError:
            self._cut_back()
            raise
        self._digest.update(lines)
        self.bytes += len(lines)
        self._unsynced = True

    def _cut_back(self) -> None:
        """Remove what is behind the last whole line that counts."""
        os.ftruncate(self._descriptor, self.bytes)
        os.lseek(self._descriptor, self.bytes, os.SEEK_SET)


def _hold(descriptor: int) -> None:
    """Lock a new file. Waits at most for somebody who just looks whether it is locked."""
    # Not every network file system has locks; there a crash is not told from a live writer.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def segment_name(number: int) -> str:
    return f"{number:06d}.jsonl"


def sync_folder(folder: Path) -> None:
    """Have the disk keep the names in a folder, where it can be told to."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno not in (errno.EINVAL, errno.ENOTSUP):  # no such thing on this file system
            raise
    finally:
        os.close(descriptor)


def is_being_written(part: Path) -> bool:
    """Whether a living process holds this `.part`; one without a holder is from a crash."""
    return is_held(part)
