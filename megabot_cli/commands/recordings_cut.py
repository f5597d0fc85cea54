"""Make a recording of a part of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings import indexing
from megabot_cli.commands.recordings_output import (
    Destination,
    Force,
    Source,
    more_secrets,
    source_place,
    tell_made,
    tell_warnings,
    writing_to,
)
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import ONE_RECORDING, examples, forms, takes_no_more
from megabot_cli.errors import NotFound

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection
    from megabot_cli.storage.record_reader import RecordReader


@forms("text", "json")
@examples(
    ("megabot rec cut last slow.jsonl --from 12.5s --until 20s", "Seven and a half seconds"),
    ("megabot rec cut last one.jsonl -s sess_1", "One session"),
    ("megabot rec cut last errors.jsonl --type '*_error' --around 5", "Errors, and about them"),
)
@takes_no_more(ONE_RECORDING)
@selecting()
def cut(
    context: typer.Context,
    source: Source,
    destination: Destination,
    wanted: Selection,
    force: Force = False,
) -> None:
    """Make a recording of a part of another.

    Numbers and times stay those of the source, and each line as it stands there; the labels
    say what the part was made from, by which words, and that holes in the numbers are meant.
    What the source lost, there or at its end, becomes a `gap`.
    """
    from megabot_cli.storage.converting import watched, write_part
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.losses import with_losses
    from megabot_cli.terminal.progress import Progress

    invocation: Invocation = context.obj
    place = source_place(invocation, source)
    with (
        open_any(
            place, secrets=more_secrets(invocation), seen_indexing=indexing(invocation)
        ) as reader,
        writing_to(invocation, destination, force=force) as write,
        Progress(invocation.console, "cutting") as progress,
    ):
        lines = watched(with_losses(reader, wanted), progress.advance)
        converted = write_part(reader, lines, write, "cut", wanted)
        if not converted.written:
            require_marks(reader)
    tell_warnings(invocation, reader)
    tell_made(invocation, destination, records=converted.written)
    if not converted.written:
        invocation.console.warn("nothing was wanted: the recording is empty")


def require_marks(reader: RecordReader) -> None:
    """NotFound when there is nothing because a place that was named is not there. It leaves
    nothing behind, where a part that is empty because nothing fits is one."""
    from megabot_cli.storage.choosing import NO_MARK

    for warning in reader.warnings:
        if warning.startswith(NO_MARK):
            raise NotFound(warning, "`megabot recordings show` has a line for each mark.")
