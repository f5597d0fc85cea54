"""What becomes ready in one turn of the event loop leaves together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger("relay")


class Turn:
    """Collects what became ready in this turn of the event loop and writes it once.

    While turns have one thing to write each, whoever has read it need not wait for the turn's
    end: where `quiet`, it may call `write_early`, once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: list[Callable[[], None]] = []
        self._asked = False  # for the end of this turn
        self._early = 0  # written before that
        self.quiet = True

    def after(self, write: Callable[[], None]) -> None:
        """Call `write` when this turn's messages have all been handed out."""
        if not self._asked:
            self._asked = True
            self._loop.call_soon(self._run)
        self._ready.append(write)

    def write_early(self) -> None:
        """All that one read brought has been handed out, and it is the first of this turn."""
        if self._ready:
            self.quiet = False
            self._early = len(self._ready)
            self._write()

    def _run(self) -> None:
        self._asked = False
        self.quiet, self._early = self._early + len(self._ready) == 1, 0
        if self._ready:
            self._write()

    def _write(self) -> None:
        ready, self._ready = self._ready, []
        for write in ready:
            try:
                write()
            except Exception:  # one broken socket must not keep the others' messages back
                log.exception("socket.not_written")
