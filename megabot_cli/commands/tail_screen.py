"""Where everything goes that `tail` sees: shown, counted, kept, judged."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from megabot_cli.errors import ExpectationFailed

if TYPE_CHECKING:
    from megabot_cli.recording.conditions import Condition
    from megabot_cli.recording.record import Record
    from megabot_cli.recording.statistics import Statistics
    from megabot_cli.storage.recorder import Recorder
    from megabot_cli.terminal.console import Console
    from megabot_cli.terminal.record_printer import RecordPrinter

_MESSAGES = ("message", "inject")


@dataclass
class Screen:
    """One for all sources. `named`: each line says which of them it comes from.

    `fail_on` ends the command with 13 at the first message it holds for. `kept` records what
    comes live. `every_s`: a summary so often, and at the end; 0 is only at the end.
    """

    console: Console
    printer: RecordPrinter
    named: bool = False
    fail_on: Condition | None = None
    kept: Recorder | None = None
    counted: Statistics | None = None
    every_s: float = 0.0

    def __post_init__(self) -> None:
        self._began_at: float | None = None
        self._told_at = time.monotonic()

    @property
    def only_shows(self) -> bool:
        """Whether nothing is counted, kept or judged."""
        return self.fail_on is None and self.kept is None and self.counted is None

    def show(
        self, record: Record, at: float, source: str, line: bytes = b"", *, live: bool = True
    ) -> None:
        """Take a record that was chosen. ExpectationFailed when it is one not to be."""
        self.printer.show(record, at, line, source if self.named else None)
        if live and self.kept is not None:
            _keep(self.kept, record)
        if self.counted is not None:
            self._count(self.counted, record, at)
        if self.fail_on is not None and record.kind in _MESSAGES and self.fail_on.holds(record):
            self.printer.end()
            which = record.id or f"number {record.n}"
            raise ExpectationFailed(f"--fail-on holds for {record.type or 'a message'} {which}")

    def end(self) -> None:
        """Finish what is open, and sum up."""
        self.printer.end()
        if self.counted is not None:
            self._sum_up(self.counted)
        if self.kept is not None:
            self.kept.close()
            self.console.note(f"kept in {self.kept.folder}")

    def _count(self, counted: Statistics, record: Record, at: float) -> None:
        import msgspec

        # Each source counts time from a beginning of its own.
        self._began_at = at if self._began_at is None else self._began_at
        since_us = max(0, round((at - self._began_at) * 1e6))
        counted.take(msgspec.structs.replace(record, t=since_us))
        if self.every_s and time.monotonic() - self._told_at >= self.every_s:
            self._told_at = time.monotonic()
            self._sum_up(counted)

    def _sum_up(self, counted: Statistics) -> None:
        """On stderr: stdout is for the messages."""
        from megabot_cli.commands.recordings_stats import print_summary

        with self.console.writing_to(sys.stderr):
            print_summary(
                self.console, "seen so far" if self.every_s else "seen", counted.summary()
            )


def _keep(kept: Recorder, record: Record) -> None:
    payload = record.payload()
    kept.put(
        record.kind,
        direction=record.direction,
        client=record.client,
        link=record.link,
        session=record.session,
        user=record.user,
        id=record.id,
        type=record.type,
        reply_to=record.reply_to,
        opcode=record.opcode,
        data=payload,
        code=record.code,
        reason=record.reason,
        by=record.by,
        note=record.note,
    )
