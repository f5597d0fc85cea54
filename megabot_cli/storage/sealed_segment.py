"""A recording made of other recordings: one segment, its lines given, sealed at the end."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

from megabot_cli.recording.format_v1 import End, encode_end
from megabot_cli.recording.record import Record

Write = Callable[[bytes], object]


class SealedSegment:
    """Writes a header, then lines, then the `end` that goes with them. Lines have no newline.

    Nothing is kept but counts and the last time. Whoever leaves out `seal` leaves an unclean
    recording.
    """

    def __init__(self, write: Write, header_line: bytes) -> None:
        self._write = write
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._redactions = 0
        self._first_t: int | None = None
        self._n = 0
        self.last_t = 0
        self.records = 0
        self._append(header_line)

    def add(self, record: Record, line: bytes) -> None:
        """Append the line of a record, which comes after those before in `n` and `t`."""
        self._append(line)
        self.records += 1
        self._counts[record.kind] += 1
        self._redactions += len(record.redacted or ())
        self._first_t = record.t if self._first_t is None else self._first_t
        self._n = max(self._n, record.n)
        self.last_t = max(self.last_t, record.t)

    def seal(self) -> None:
        end = End(
            n=self._n + 1,
            t=self.last_t,
            records=self.records,
            bytes=self._bytes,
            first_t=self._first_t,
            last_t=self.last_t if self.records else None,
            counts=dict(self._counts),
            redactions=self._redactions,
            sha256=self._digest.hexdigest(),
        )
        self._append(encode_end(end)[:-1])

    def _append(self, line: bytes) -> None:
        content = line + b"\n"
        self._write(content)
        self._digest.update(content)
        self._bytes += len(content)
