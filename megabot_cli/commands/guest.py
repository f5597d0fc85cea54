"""The command that `megabot gateway -- CMD` runs against the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from megabot_cli.errors import NotFound

if TYPE_CHECKING:
    import asyncio

_GUEST_END_S = 5.0


class Guest:
    """The command that runs against the gateway, if there is one."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self.environment: dict[str, str] = {}
        self.exit_code = 0

    async def run(self) -> None:
        """Run the command to its end; without one, wait for ever. Cancelling ends it."""
        import asyncio

        if not self._command:
            await asyncio.Event().wait()
        try:
            process = await asyncio.create_subprocess_exec(*self._command, env=self.environment)
        except FileNotFoundError:
            raise NotFound(f"There is no command {self._command[0]!r}") from None
        try:
            await process.wait()
        finally:
            await _end(process)
            self.exit_code = shell_code(process.returncode or 0)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask a process that still runs to end, and insist when it does not."""
    import asyncio

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
