"""Tell the service manager how the program is: systemd's notification protocol (sd_notify(3)).

Datagrams of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names. Without one, as on
a terminal, nothing is sent. A supervisor that does not listen never stops the program.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

STATUS_S = 5.0  # how often a changed status is told


class Supervisor:
    """Whoever started the program, if it wants to know. `watchdog_s`: it must hear so often."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self.address = address
        self.watchdog_s = watchdog_s
        self._status: str | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int | None = None) -> Supervisor:
        """The one that the environment names; what cannot be read counts as not there."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            address = None
        watchdog_s = None
        if environ.get("WATCHDOG_PID", str(pid or os.getpid())) == str(pid or os.getpid()):
            with suppress(ValueError):
                watchdog_s = int(environ.get("WATCHDOG_USEC", "")) / 1e6
        return cls(address, watchdog_s if watchdog_s and address else None)

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        """`ready` must follow. The time is the same clock's as systemd's own."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    @contextmanager
    def heartbeat(self, status: Callable[[], str]) -> Iterator[None]:
        """Within, the event loop itself tells that it is alive, and what `status` says."""
        if self.address is None:
            yield
            return
        import asyncio

        loop = asyncio.get_running_loop()
        every_s = min(STATUS_S, self.watchdog_s / 3) if self.watchdog_s else STATUS_S
        timer: asyncio.TimerHandle | None = None

        def beat() -> None:
            nonlocal timer
            timer = loop.call_later(every_s, beat)
            if self.watchdog_s:
                self.alive()
            self.status(status())

        beat()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _tell(self, *lines: str) -> None:
        if self.address is None:
            return
        # An address that begins with @ is in Linux's abstract namespace.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        # A full queue or a supervisor that went is its own affair: never wait, never fail.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.setblocking(False)
            door.connect(address)
            door.send("\n".join(lines).encode())
