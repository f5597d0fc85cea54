"""A program that reads the text on stdin and writes the answer to stdout."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Sequence

import msgspec
import structlog

from megabot_cli.gateway.assistants.interface import AssistantFailed, Turn

HISTORY_VARIABLE = "MEGABOT_HISTORY"  # JSON: [{"sender": "user", "content": …}, …]
MOST_HISTORY_BYTES = 64 * 1024

_PIECE_BYTES = 4096
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
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, HISTORY_VARIABLE: _as_json(history)},
                start_new_session=True,
            )
        except OSError as fault:
            log.error("assistant.not_started", program=self._command[0], fault=fault.strerror)
            raise AssistantFailed("The assistant's program cannot be started.") from None
        complaints = bytearray()
        listening = asyncio.ensure_future(_drain(process.stderr, complaints))
        try:
            await _tell(process.stdin, text)
            async for piece in self._read(process):
                yield piece
            await self._end_well(process, complaints, listening)
        finally:
            _kill_group(process)
            listening.cancel()
            await process.wait()

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
        complaints: bytearray,
        listening: asyncio.Future[None],
    ) -> None:
        try:
            async with asyncio.timeout(self._silence_s):
                code = await process.wait()
                await listening
        except TimeoutError:
            raise AssistantFailed("The assistant's program does not end.") from None
        if code != 0:
            log.error(
                "assistant.exited",
                program=self._command[0],
                code=code,
                said=complaints.decode("utf-8", "replace"),
            )
            raise AssistantFailed(f"The assistant's program ended with {code}.")


async def _tell(pipe: asyncio.StreamWriter | None, text: str) -> None:
    assert pipe is not None
    # A program need not read what it is told.
    with contextlib.suppress(ConnectionError):
        pipe.write(text.encode("utf-8", "replace"))
        await pipe.drain()
    pipe.close()


async def _drain(pipe: asyncio.StreamReader | None, kept: bytearray) -> None:
    assert pipe is not None
    while data := await pipe.read(_PIECE_BYTES):
        kept += data
        del kept[:-_SHOWN_BYTES]


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
