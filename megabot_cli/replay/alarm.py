"""Wake up at a time, to a fraction of a millisecond.

The event loop's own timers round to whole milliseconds, which is all the lateness a replay is
allowed. Linux has timers of nanoseconds that are files; elsewhere the loop's have to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_AT_A_TIME: Final = 1  # TFD_TIMER_ABSTIME


class Alarm:
    """Calls `ring` once after each `set`, not before that time on `time.monotonic`."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._file = _Timer() if sys.platform == "linux" else None
        if self._file is not None:
            self._loop.add_reader(self._file.descriptor, self._rang)

    def set(self, at: float) -> None:
        """Ring then instead of when it was set to."""
        if self._file is not None:
            self._file.set(at)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, at - time.monotonic()), self._ring)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._file is not None:
            self._loop.remove_reader(self._file.descriptor)
            os.close(self._file.descriptor)
            self._file = None

    def _rang(self) -> None:
        assert self._file is not None
        with suppress(BlockingIOError):  # it was set anew in between
            os.read(self._file.descriptor, 8)
            self._ring()


class _Timer:
    """A timerfd(2). Python 3.13 has it in `os`."""

    def __init__(self) -> None:
        self._system = ctypes.CDLL(None, use_errno=True)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self.descriptor: int = self._system.timerfd_create(_CLOCK_MONOTONIC, flags)
        if self.descriptor < 0:
            fault = ctypes.get_errno()
            raise OSError(fault, os.strerror(fault))

    def set(self, at: float) -> None:
        seconds, nanoseconds = divmod(max(1, int(at * 1e9)), 1_000_000_000)
        # Interval (none) and first time, each in seconds and nanoseconds.
        times = (ctypes.c_long * 4)(0, 0, seconds, nanoseconds)
        self._system.timerfd_settime(self.descriptor, _AT_A_TIME, times, None)
