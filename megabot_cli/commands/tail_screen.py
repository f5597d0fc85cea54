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


class AllShown(Exception):
    """One source has shown all that is wanted of it: its time is over."""


class Enough(AllShown):
    """As many were shown as are wanted of all sources together."""


@dataclass
class Quota:
    """How many messages are still wanted, and how many more around the last of them."""

    left: int
    around: int = 0

    def take(self, *, wanted: bool) -> None:
        """Count one that was shown, `wanted` or a neighbour. Enough when it was the last."""
        if self.left == 0:
            self.around -= 1
        elif wanted:
            self.left -= 1
        if self.left == 0 and self.around <= 0:
            raise Enough


@dataclass
class Screen:
    """One for all sources. `named`: each line says which of them it comes from. `events`: what
    is no message is shown too.

    `quota`: so many in all, then Enough. `fail_on` ends the command with 13 at the first
    message it holds for. `kept` records what comes live. `every_s`: a summary so often, and at
    the end; 0 is only at the end.
    """

    console: Console
    printer: RecordPrinter
    named: bool = False
    events: bool = False
    quota: Quota | None = None
    fail_on: Condition | None = None
    kept: Recorder | None = None
    counted: Statistics | None = None
    every_s: float = 0.0

    def __post_init__(self) -> None:
        self._began_at: float | None = None
        self._told_at = time.monotonic()
        self._told_of_fault = False

    @property
    def only_shows(self) -> bool:
        """Whether nothing is counted, kept or judged."""
        others = (self.quota, self.fail_on, self.kept, self.counted)
        return all(each is None for each in others)

    def show(
        self,
        record: Record,
        at: float,
        source: str,
        line: bytes = b"",
        *,
        live: bool = True,
        wanted: bool = True,
        hidden: bool = False,
    ) -> None:
        """Take a record that was chosen, or a neighbour of one that was `wanted`; what is
        `hidden` is kept and judged but neither shown nor one of those that were asked for.

        ExpectationFailed when it is one not to be, Enough when nothing more is wanted.
        """
        if not hidden:
            self.printer.show(record, at, line, source if self.named else None)
        if live and self.kept is not None:
            _keep(self.kept, record)
            if self.kept.fault is not None and not self._told_of_fault:
                self._told_of_fault = True
                self.console.warn(self.kept.fault)
        if self.counted is not None:
            self._count(self.counted, record, at)
        if self.fail_on is not None and record.kind in _MESSAGES and self.fail_on.holds(record):
            self.printer.end()
            which = record.id or f"number {record.n}"
            raise ExpectationFailed(f"--fail-on holds for {record.type or 'a message'} {which}")
        if self.quota is not None and not hidden:
            self.quota.take(wanted=wanted)

    def end(self) -> None:
        """Finish what is open, and sum up."""
        self.printer.end()
        if self.counted is not None:
            self._sum_up(self.counted, "seen")
        if self.kept is not None:
            from megabot_cli.commands.kept_messages import end_recording

            end_recording(self.console, self.kept)

    def _count(self, counted: Statistics, record: Record, at: float) -> None:
        import msgspec

        # Each source counts time from a beginning of its own.
        self._began_at = at if self._began_at is None else self._began_at
        since_us = max(0, round((at - self._began_at) * 1e6))
        counted.take(msgspec.structs.replace(record, t=since_us))
        if self.every_s and time.monotonic() - self._told_at >= self.every_s:
            self._sum_up(counted, "seen so far")

    async def sum_up_in_time(self) -> None:
        """Sum up every so often for ever, also while nothing comes."""
        import asyncio

        assert self.counted is not None
        while True:
            left_s = self._told_at + self.every_s - time.monotonic()
            if left_s <= 0:
                self._sum_up(self.counted, "seen so far")
            else:
                await asyncio.sleep(left_s)

    def _sum_up(self, counted: Statistics, heading: str) -> None:
        """On stderr: stdout is for the messages."""
        from megabot_cli.commands.recordings_stats import print_summary

        self._told_at = time.monotonic()
        with self.console.writing_to(sys.stderr):
            print_summary(self.console, heading, counted.summary())


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
        size=record.size,
        redacted=record.redacted,
    )
