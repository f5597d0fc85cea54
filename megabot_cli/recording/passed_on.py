"""Greetings that a relay passed on: said twice, first to the relay and then to its client."""

from __future__ import annotations

from typing import Final

from megabot_cli.recording.record import Record

GREETING: Final = "connection_established"


class PassedOnGreetings:
    """Tells them in what is offered, record by record, in order."""

    def __init__(self) -> None:
        self._greeted: str | None = None  # the session that the upstream greeted last

    def is_one(self, record: Record) -> bool:
        """Whether it says to the client what the upstream said to the relay just now: both were
        sent, and people need it once."""
        if record.type != GREETING:
            return False
        if record.kind == "message":
            self._greeted = record.session
        passed_on = record.kind == "inject" and record.session == self._greeted is not None
        if passed_on:
            self._greeted = None
        return passed_on
