"""What others hand in on stdin: secrets, whole texts, lines, answers to a question.

Read by descriptor: a thread that waits in Python's buffered stdin would block the exit.
"""

from __future__ import annotations

import getpass
import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from megabot_cli.errors import BadData, WrongUsage

if TYPE_CHECKING:
    import asyncio

STDIN = 0
MAX_SECRET_BYTES = 64 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_LINES_AHEAD = 100


def read_secret(flag: str, question: str | None) -> str:
    """A secret from stdin, without the line break at its end. WrongUsage when none came.

    A terminal would show what is typed: there `question` is asked instead, and None refuses.
    """
    if os.isatty(STDIN):
        if question is None:
            raise WrongUsage(f"{flag} found a terminal on stdin, and nobody to ask", _piped(flag))
        return ask_secret(question)
    content = _read_all(MAX_SECRET_BYTES)
    secret = _text(content).rstrip("\r\n")
    if not secret:
        raise WrongUsage(f"{flag} found nothing on stdin", _piped(flag))
    return secret


def _piped(flag: str) -> str:
    return f"Pipe it in: `… | megabot … {flag}`."


def read_text(limit: int = MAX_LINE_BYTES) -> str:
    """All of stdin as text, without the line break at its end."""
    text = _text(_read_all(limit))
    return text.removesuffix("\n").removesuffix("\r")


def _read_all(limit: int) -> bytes:
    content = b"".join(_chunks(limit))
    if len(content) > limit:
        raise BadData(f"More than {limit} bytes came on stdin")
    return content


def _chunks(limit: int, descriptor: int = STDIN) -> Iterator[bytes]:
    taken = 0
    try:
        while taken <= limit and (chunk := os.read(descriptor, _CHUNK)):
            taken += len(chunk)
            yield chunk
    except OSError:
        return  # a closed stdin is an empty one


def _text(content: bytes, where: str = "stdin") -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as fault:
        raise BadData(
            f"{where} is not UTF-8 text (byte {fault.start})", "`iconv -t UTF-8` makes it that."
        ) from None


def ask(question: str) -> str:
    """Ask on the terminal. WrongUsage when the person ends the input instead."""
    import sys

    print(question, end="", file=sys.stderr, flush=True)
    try:
        answer = input()
    except EOFError:
        print(file=sys.stderr)
        raise WrongUsage(
            "There was no answer", "--help says what to give as an option instead."
        ) from None
    except BaseException:
        print(file=sys.stderr)  # Ctrl-C: what comes next is on a line of its own
        raise
    return answer.strip()


def ask_secret(question: str) -> str:
    """Ask on the terminal without showing what is typed; echo is on again whatever happens."""
    try:
        return getpass.getpass(question)
    except BaseException as ended:
        import sys

        print(file=sys.stderr)  # Ctrl-C, say: what comes next is on a line of its own
        if isinstance(ended, EOFError):
            raise WrongUsage(
                "There was no answer", "--help says what to give as an option instead."
            ) from None
        raise


async def lines(descriptor: int = STDIN, name: str = "stdin") -> AsyncIterator[str]:
    """The lines of stdin, or of another open file, as they come, read ahead by a bounded number.
    BadData, with its `name`, for what is no text.

    A thread reads: an event loop cannot wait for a file, and never hears of /dev/null.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_LINES_AHEAD)
    reader = threading.Thread(
        target=_feed, args=(loop, waiting, descriptor), daemon=True, name="stdin"
    )
    reader.start()
    while (line := await waiting.get()) is not None:
        yield _text(line, name).rstrip("\r\n")


def _feed(
    loop: asyncio.AbstractEventLoop, waiting: asyncio.Queue[bytes | None], descriptor: int
) -> None:
    try:
        for line in _split(_chunks_for_ever(descriptor)):
            if not _hand_over(loop, waiting, line):
                return
        _hand_over(loop, waiting, None)
    finally:
        if descriptor != STDIN:
            os.close(descriptor)


def _hand_over(
    loop: asyncio.AbstractEventLoop, waiting: asyncio.Queue[bytes | None], line: bytes | None
) -> bool:
    """Put a line where the loop takes it; False when the loop ended and nobody wants the rest."""
    import asyncio
    from concurrent.futures import CancelledError

    put = waiting.put(line)
    try:
        asyncio.run_coroutine_threadsafe(put, loop).result()
    except (RuntimeError, CancelledError):
        put.close()
        return False
    return True


def _chunks_for_ever(descriptor: int) -> Iterator[bytes]:
    with_limit_per_line_only = 1 << 62
    yield from _chunks(with_limit_per_line_only, descriptor)


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for chunk in chunks:
        held += chunk
        if b"\n" in chunk:
            *whole, rest = held.split(b"\n")
            yield from (bytes(line) for line in whole)
            held = bytearray(rest)
        if len(held) > MAX_LINE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
