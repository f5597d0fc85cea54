"""Programs of the operator's that carry out MegaBot's tool calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Sequence
from typing import Any, Final

MOST_RESULT_BYTES: Final = 512 * 1024  # a message may have twice that, and JSON takes its share
_MOST_COMPLAINT_BYTES: Final = 16 * 1024
_SHOWN_CHARACTERS: Final = 500
_BURIAL_S: Final = 1.0
_PIECE_BYTES: Final = 64 * 1024


class ToolProgramFailed(Exception):
    """The program gave no result, and why."""


class ToolProgram:
    """Runs a program for each call, without a shell, in a process group of its own.

    The call's parameters are a JSON object on its stdin; what it writes to stdout is the
    result, as JSON where it is any, else as text. An exit code other than 0, more than
    `MOST_RESULT_BYTES` or more than `limit_s` seconds are failures; stderr says what of.
    """

    def __init__(self, command: Sequence[str], *, limit_s: float = 60.0) -> None:
        self.command = tuple(command)
        self._limit_s = limit_s

    async def __call__(self, **parameters: Any) -> Any:
        """Return the result. Raises ToolProgramFailed."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as fault:
            raise ToolProgramFailed(f"cannot start {self.command[0]}: {fault.strerror}") from None
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._result(process, json.dumps(parameters).encode())
        except TimeoutError:
            raise ToolProgramFailed(f"was not done within {self._limit_s:g} s") from None
        finally:
            _kill_group(process)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BURIAL_S):  # a child that left the group holds a pipe
                    await process.wait()

    async def _result(self, process: asyncio.subprocess.Process, given: bytes) -> Any:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdin is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_tell(process.stdin, given), name="tool program: stdin")
            said = tasks.create_task(
                _read(process.stdout, MOST_RESULT_BYTES), name="tool program: stdout"
            )
            complained = tasks.create_task(
                _read(process.stderr, _MOST_COMPLAINT_BYTES), name="tool program: stderr"
            )
        code = await process.wait()
        text = said.result().decode("utf-8", "replace")
        if code != 0:
            why = complained.result().decode("utf-8", "replace").strip() or text.strip()
            told = f": {why[-_SHOWN_CHARACTERS:]}" if why else ""
            raise ToolProgramFailed(f"ended with {code}{told}")
        if len(said.result()) > MOST_RESULT_BYTES:
            raise ToolProgramFailed(f"wrote more than {MOST_RESULT_BYTES // 1024} KiB")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text.removesuffix("\n")


async def _tell(pipe: asyncio.StreamWriter, given: bytes) -> None:
    """It need not read what it is told."""
    with contextlib.suppress(OSError, RuntimeError):
        pipe.write(given)
        await pipe.drain()
    with contextlib.suppress(OSError, RuntimeError):
        pipe.close()


async def _read(pipe: asyncio.StreamReader, most: int) -> bytes:
    """What it writes, to its end; of more than `most` bytes one more than that."""
    kept = bytearray()
    while piece := await pipe.read(_PIECE_BYTES):
        kept += piece[: most + 1 - len(kept)]
    return bytes(kept)


def _kill_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
