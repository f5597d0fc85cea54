"""Where commands below `recordings` write to: a new file, or standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from collections import Counter

    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.storage.more_secrets import MoreSecrets
    from megabot_cli.storage.record_reader import RecordReader

Write = Callable[[bytes], object]

_BUFFERED_BYTES = 64 * 1024

Destination = Annotated[
    str, typer.Argument(metavar="DEST", help="The file to make, or - for standard output.")
]
Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A recording, HAR file or bare messages, or -.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")]


ONLY_ASKED = "nothing that came was chosen: whether there was an answer is not told here"

MoreKeys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="NAME", help="What stands under this key or path is secret."),
]
MorePatterns = Annotated[
    list[str] | None,
    typer.Option("--pattern", metavar="RE", help="What this expression finds is secret."),
]


@contextmanager
def writing_to(invocation: Invocation, destination: str, *, force: bool) -> Iterator[Write]:
    """Give what writes to `destination`: a private file that is whole or not there, or stdout. A
    long recording gets its index.

    On a terminal, what could steer it is made visible.
    """
    if destination == "last":  # a file of that name would be taken for it from then on
        raise WrongUsage("last stands for the newest recording", "Name a file; ./last is one too.")
    if destination != "-":
        from megabot_cli.storage.index_finding import refresh_index
        from megabot_cli.storage.new_file import NewFile

        with NewFile(Path(destination), replace=force) as file:
            yield file.write
        refresh_index(Path(destination))
        return
    output = _StandardOutput(invocation)
    yield output.write
    output.flush()


def tell_made(invocation: Invocation, destination: str, **facts: int) -> None:
    """What was made, for who asked for JSON; on standard output stands the thing itself."""
    if invocation.output == "json" and destination != "-":
        invocation.console.json({"file": destination, **facts})


def harmless(write: Write) -> Write:
    """Writes text for people: what could steer a terminal that shows it is made visible."""
    from megabot_cli.terminal.text import safe_text

    def write_safely(content: bytes) -> None:
        write(safe_text(content.decode("utf-8", "replace")).encode())

    return write_safely


class _StandardOutput:
    def __init__(self, invocation: Invocation) -> None:
        self._console = invocation.console
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, content: bytes) -> None:
        self._pieces.append(content)
        self._size += len(content)
        if self._size >= _BUFFERED_BYTES:
            self.flush()

    def flush(self) -> None:
        from megabot_cli.terminal.text import safe_text

        text = b"".join(self._pieces).decode("utf-8", "replace")
        self._pieces, self._size = [], 0
        self._console.stream(safe_text(text) if self._console.out_is_terminal else text)


def source_place(invocation: Invocation, source: str) -> Path | str:
    """A file of any kind by its path; a recording also by its name; `-` is stdin."""
    from megabot_cli.commands.recordings import find

    return Path(source) if Path(source).is_file() else find(invocation, source)


def more_secrets(
    invocation: Invocation, keys: MoreKeys = None, patterns: MorePatterns = None
) -> MoreSecrets:
    """The keys and patterns of secrets that the operator has configured, and these."""
    from megabot_cli.storage.more_secrets import MoreSecrets

    settings = invocation.configuration.settings.recording
    return MoreSecrets(
        [*settings.redact_keys, *(keys or ())], [*settings.redact_patterns, *(patterns or ())]
    )


def tell_warnings(invocation: Invocation, reader: RecordReader) -> None:
    from megabot_cli.terminal.text import safe_line

    for warning in reader.warnings:
        invocation.console.warn(safe_line(warning))


def tell_left_out(invocation: Invocation, left_out: Counter[str], why: str) -> None:
    """Say what had no place in the output."""
    if left_out:
        from megabot_cli.terminal.text import safe_line

        count = sum(left_out.values())
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(left_out.items()))
        were = "record was" if count == 1 else "records were"
        invocation.console.note(safe_line(f"{count} {were} left out ({kinds}): {why}."))
