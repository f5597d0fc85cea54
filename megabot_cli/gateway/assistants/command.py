"""A program that reads the text on stdin and writes the answer to stdout."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Sequence
from typing import IO

import msgspec
import structlog

from megabot_cli.gateway.assistants.interface import AssistantFailed, Turn

HISTORY_VARIABLE = "MEGABOT_HISTORY"  # JSON: [{"sender": "user", "content": …}, …]
MOST_HISTORY_BYTES = 64 * 1024

_PIECE_BYTES = 4096
_REST_S = 1.0
_SHOWN_BYTES = 2000  # of what it writes to stderr

log = structlog.get_logger()


class CommandAssistant:
    """Runs a command for each question, in a process group of its own.

    What it writes is passed on as it comes. `silence_s`: so long it may write nothing. An
    exit code other than 0 is a failure; what it said on stderr is logged.
    """

    def __init__(self, command: Sequence[str], *, silence_s: float = 60.0) -> None:
        self._command = tuple(command)
        self._silence_s = silence_s

    async def answer(self, text: str, history: Sequence[Turn]) -> AsyncGenerator[str, None]:
        # What it complains of goes to a file: nobody need read it while it runs.
        with tempfile.TemporaryFile() as complaints:
            process = await self._start(history, complaints)
            try:
                _tell(process.stdin, text)
                async for piece in self._read(process):
                    yield piece
                await self._end_well(process, complaints)
            finally:
                _kill_group(process)
                await _bury(process)

    async def _start(
        self, history: Sequence[Turn], complaints: IO[bytes]
    ) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=complaints,
                env={**os.environ, HISTORY_VARIABLE: _as_json(history)},
                start_new_session=True,
            )
        except OSError as fault:
            log.error("assistant.not_started", program=self._command[0], fault=fault.strerror)
            raise AssistantFailed("The assistant's program cannot be started.") from None

    async def _read(self, process: asyncio.subprocess.Process) -> AsyncGenerator[str, None]:
        assert process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    data = await process.stdout.read(_PIECE_BYTES)
            except TimeoutError:
                text = f"The assistant's program wrote nothing for {self._silence_s:g} s."
                raise AssistantFailed(text) from None
            piece = decoder.decode(data, final=not data)
            if piece:
                yield piece
            if not data:
                return

    async def _end_well(
        self,
        process: asyncio.subprocess.Process,
        complaints: IO[bytes],
    ) -> None:
        try:
            async with asyncio.timeout(self._silence_s):
                code = await process.wait()
        except TimeoutError:
            raise AssistantFailed("The assistant's program does not end.") from None
        if code != 0:
            log.error(
                "assistant.exited",
                program=self._command[0],
                code=code,
                said=_end_of(complaints),
            )
            raise AssistantFailed(f"The assistant's program ended with {code}.")


def _tell(pipe: asyncio.StreamWriter | None, text: str) -> None:
    """Nobody waits until it has read: it need not read what it is told."""
    assert pipe is not None
    # One that has ended already has closed its end: uvloop then raises RuntimeError.
    with contextlib.suppress(RuntimeError):
        pipe.write(text.encode("utf-8", "replace"))
        pipe.close()


async def _bury(process: asyncio.subprocess.Process) -> None:
    """See a killed process to its end, however often whoever waits is cancelled meanwhile."""
    burial = asyncio.ensure_future(_until_gone(process))
    cancelled = False
    while not burial.done():
        try:
            await asyncio.shield(burial)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def _until_gone(process: asyncio.subprocess.Process) -> None:
    await _discard_rest(process)
    await process.wait()


async def _discard_rest(process: asyncio.subprocess.Process) -> None:
    """Let the pipe see its end: until then its transport stays open."""
    assert process.stdout is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REST_S):  # a child that left the group may still hold it
            while await process.stdout.read(_PIECE_BYTES):
                continue


def _end_of(complaints: IO[bytes]) -> str:
    size = complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, size - _SHOWN_BYTES))
    return complaints.read().decode("utf-8", "replace")


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Its children go with it, whether it has ended or not."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _as_json(history: Sequence[Turn]) -> str:
    """The newest turns that an environment has room for."""
    turns = list(history)
    while len(content := msgspec.json.encode(turns)) > MOST_HISTORY_BYTES:
        turns = turns[1:]
    return content.decode()
