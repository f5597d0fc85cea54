"""Long results on a terminal, a page at a time, as the other tools do."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, TextIO, cast

from megabot_cli.terminal.console import Console

# What fits on the screen is shown without a pager; colour is passed on; the screen is left alone.
_LESS: Final = {"LESS": "FRX", "LESSCHARSET": "utf-8"}


@contextmanager
def paged(console: Console, environ: Mapping[str, str]) -> Iterator[None]:
    """Within this, stdout goes through $MEGABOT_PAGER, $PAGER or less, where it is a terminal.

    A pager that is left early ends the command quietly.
    """
    somebody_reads = console.out_is_terminal and console.in_is_terminal
    command = _command(environ, dumb=not console.can_draw) if somebody_reads else None
    if command is None:
        yield
        return
    pager = _Pager(command, environ)
    try:
        with console.writing_to(cast(TextIO, pager)):
            yield
    finally:
        pager.close()


class _Pager:
    """A pager that is started with the first word: nothing needs none."""

    def __init__(self, command: list[str], environ: Mapping[str, str]) -> None:
        self._command = command
        self._environ = {**_LESS, **environ}
        self._process: subprocess.Popen[str] | None = None
        self._out: TextIO | None = None

    def write(self, text: str) -> int:
        if self._out is None:
            self._out = self._start()
        return self._out.write(text)

    def flush(self) -> None:
        if self._out is not None:
            self._out.flush()

    def _start(self) -> TextIO:
        """Its stdin; our own stdout where it cannot be started."""
        try:
            self._process = subprocess.Popen(  # noqa: S603  the operator's own word
                self._command, stdin=subprocess.PIPE, env=self._environ, encoding="utf-8"
            )
        except OSError:
            return sys.stdout
        return cast(TextIO, self._process.stdin)

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
            _wait(self._process)


def _command(environ: Mapping[str, str], *, dumb: bool) -> list[str] | None:
    """The pager as words; None where there is none, or one that only copies. `less` shows no
    pages where the terminal can only go on."""
    named = environ.get("MEGABOT_PAGER", environ.get("PAGER"))
    if named is None:
        return ["less"] if not dumb and shutil.which("less") else None
    try:
        words = shlex.split(named)
    except ValueError:
        return None
    if not words or os.path.basename(words[0]) == "cat" or shutil.which(words[0]) is None:
        return None
    return words


def _wait(pager: subprocess.Popen[str]) -> None:
    """Until it is left. Ctrl-C is for the pager, which the terminal belongs to."""
    while True:
        try:
            pager.wait()
        except KeyboardInterrupt:
            continue
        return
