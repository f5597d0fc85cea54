"""The command that `megabot gateway -- CMD` runs against the gateway."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from megabot_cli.errors import NotFound, WrongUsage

if TYPE_CHECKING:
    import asyncio

_GUEST_END_S = 5.0


class Guest:
    """The command that runs against the gateway, if there is one."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self.environment: dict[str, str] = {}
        self.exit_code = 0
        self._told_to_end = False

    def hear(self, number: int) -> None:
        """A signal stops us. Ctrl-C reached the command as well, where a terminal is shared: it
        ends in its own way, as a test run that sums up does."""
        self._told_to_end = number == signal.SIGINT and _in_foreground()

    async def run(self) -> None:
        """Run the command to its end; without one, wait for ever. Cancelling ends it."""
        import asyncio

        if not self._command:
            await asyncio.Event().wait()
        try:
            process = await asyncio.create_subprocess_exec(*self._command, env=self.environment)
        except FileNotFoundError:
            raise NotFound(
                f"There is no command {self._command[0]!r}",
                "Name one that is on the PATH, or its path.",
            ) from None
        except OSError as fault:
            raise WrongUsage(
                f"{self._command[0]} cannot be run: {fault.strerror or fault}",
                "What stands after -- is a program and its arguments.",
            ) from None
        try:
            await process.wait()
        finally:
            await _end(process, told=self._told_to_end)
            self.exit_code = shell_code(process.returncode or 0)


def _in_foreground() -> bool:
    """Whether what is typed at the terminal is for our group of processes."""
    for stream in (0, 1, 2):
        with suppress(OSError, AttributeError):  # no terminal; Windows
            return os.tcgetpgrp(stream) == os.getpgrp()
    return False


async def _end(process: asyncio.subprocess.Process, *, told: bool) -> None:
    """Ask a process that still runs to end, unless it was `told`; insist when it does not."""
    import asyncio

    if told:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GUEST_END_S):
                await process.wait()
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_GUEST_END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def shell_code(returncode: int) -> int:
    """An exit code as shells say it: 128 + the number of the signal that ended it."""
    return 128 - returncode if returncode < 0 else returncode
