"""The most memory that a program takes.

The system counts for a program what the process had that started it, so one in between does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import IO

_IN_BETWEEN = """
import os, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
os.write(int(sys.argv[1]), str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss).encode())
sys.exit(code)
"""


class Measured:
    """A program that runs; `peak_mib` waits for its end."""

    def __init__(self, command: Sequence[str], stdout: int, stderr: int | None = None) -> None:
        told, telling = os.pipe()
        self._told = open(told, "rb")  # noqa: SIM115  `peak_mib` closes it
        try:
            self._running = subprocess.Popen(
                [sys.executable, "-S", "-c", _IN_BETWEEN, str(telling), *command],
                stdout=stdout,
                stderr=stderr,
                pass_fds=(telling,),
            )
        finally:
            os.close(telling)

    @property
    def stdout(self) -> IO[bytes]:
        assert self._running.stdout is not None
        return self._running.stdout

    def peak_mib(self) -> float:
        with closing(self._told), self._running:
            return int(self._told.read()) / 1024
