"""Long results on a terminal, a page at a time, as the other tools do."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
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
    try:
        pager = subprocess.Popen(  # noqa: S603  the operator's own word
            command, stdin=subprocess.PIPE, env={**_LESS, **environ}, encoding="utf-8"
        )
    except OSError:
        yield
        return
    assert pager.stdin is not None
    try:
        with console.writing_to(cast(TextIO, pager.stdin)):
            yield
    finally:
        with suppress(OSError):
            pager.stdin.close()
        _wait(pager)


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
