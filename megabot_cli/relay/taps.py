"""Taps: programs that watch what passes, and can neither change nor slow it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.selection import Matcher
from megabot_cli.recording.stream_redaction import StreamRedactor
from megabot_cli.recording.unpacking import unpack

TAP_RECORDS = 5000  # a tap further behind than this loses records, and is told how many


class Tap:
    """One watcher: a bounded queue of what it has not been sent yet.

    Only what is `wanted` is sent. That is asked here, where nobody waits, and of records whose
    secrets are gone: of a part of the chunks alone nobody could tell what they hold.
    """

    def __init__(
        self, redactor: Redactor, on_dropped: Callable[[int], None], wanted: Matcher | None = None
    ) -> None:
        self._redactor = StreamRedactor(redactor)
        self._is_wanted = wanted.matches if wanted is not None else None
        self._seen: deque[dict[str, Any]] = deque()
        self._lost = 0
        self._lost_bytes = 0
        self._lost_at = 0  # `t` of the last that was lost
        self._number = 0
        self._wake = asyncio.Event()
        self._on_dropped = on_dropped

    def offer(self, fields: dict[str, Any]) -> None:
        if len(self._seen) >= TAP_RECORDS:
            self._lost += 1
            self._lost_bytes += fields.get("size") or 0
            self._lost_at = fields["t"]
            self._on_dropped(1)
        else:
            self._tell_lost()
            self._seen.append(fields)
        self._wake.set()

    async def wait(self) -> None:
        """Return when there is something to send."""
        await self._wake.wait()
        self._wake.clear()

    def take(self, most: int) -> list[Record]:
        """Take the next records, secrets removed; of those that were lost nothing is told."""
        records: list[Record] = []
        while self._seen and len(records) < most:
            fields = self._seen.popleft()
            if fields["kind"] != "gap":
                self._number += 1
                records.append(self._record(fields))
        return records

    def take_lines(self, most: int = 200) -> list[bytes]:
        """Take the next records as lines of the recording format, secrets removed."""
        lines: list[bytes] = []
        looked_at = 0
        while self._seen and looked_at < most:
            looked_at += 1
            record = self._record(self._seen.popleft())
            if record.kind == "gap" or self._is_wanted is None or self._is_wanted(record):
                self._number += 1
                record.n = self._number
                lines.append(encode_record(record))
        if not self._seen:
            self._tell_lost()
        if self._seen:
            self._wake.set()
        return lines

    def _record(self, fields: dict[str, Any]) -> Record:
        record = Record(n=self._number + 1, **fields)
        if record.opcode == "binary":
            payload = record.payload()
            if isinstance(payload, bytes):
                unpack(record, payload)
        return self._redactor.redact_record(record)

    def _tell_lost(self) -> None:
        """Where records were lost stands a gap, also for who never catches up."""
        if not self._lost:
            return
        gap = {"lost": self._lost, "lost_bytes": self._lost_bytes}
        self._seen.append({"t": self._lost_at, "kind": "gap", **gap})
        self._lost = self._lost_bytes = 0


class Taps:
    """All watchers of one relay."""

    def __init__(self, on_dropped: Callable[[int], None]) -> None:
        self._taps: set[Tap] = set()
        self._on_dropped = on_dropped
        self.on_change: Callable[[], None] = lambda: None  # a watcher came or went

    def __len__(self) -> int:
        return len(self._taps)

    def open(self, redactor: Redactor, wanted: Matcher | None = None) -> Tap:
        """A new watcher, for whom secrets are taken out by `redactor`."""
        tap = Tap(redactor, self._on_dropped, wanted)
        self._taps.add(tap)
        self.on_change()
        return tap

    def close(self, tap: Tap) -> None:
        self._taps.discard(tap)
        self.on_change()

    def show(self, fields: dict[str, Any]) -> None:
        """Hand one fact to every watcher; each numbers and redacts its own copy."""
        for tap in self._taps:
            tap.offer(dict(fields))
