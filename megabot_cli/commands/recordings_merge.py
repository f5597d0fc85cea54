"""Make one recording of several."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings_output import (
    Destination,
    Force,
    more_secrets,
    source_place,
    tell_made,
    tell_warnings,
    writing_to,
)
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection


@forms("text", "json")
@examples(
    ("megabot rec merge rec_1m8 rec_1m9 both.jsonl", "Two relays, one story"),
    ("megabot rec merge last page.har all.jsonl", "What the relay saw, and what the browser saw"),
    (
        "megabot rec merge rec_1m8 rec_1m9 errors.jsonl --type '*_error' --around 3",
        "Errors at either, and about them",
    ),
)
@selecting()
def merge(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCES...", help="Recordings, HAR files or bare messages."),
    ],
    destination: Destination,
    wanted: Selection,
    force: Force = False,
) -> None:
    """Make one recording of several, by time.

    Records are numbered anew. A client or link whose name an earlier recording uses as well
    gets a number behind it (`client_1@2`), unless both were cut from one recording. A hole in
    the numbers of a source becomes a `gap`.

    What is chosen is chosen of all of them together, by the names that the sources have;
    `--from` and `--until` count from when the first of them began.
    """
    from megabot_cli.commands.recordings_cut import require_marks
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.merging import merge as write_merged
    from megabot_cli.terminal.progress import Progress

    invocation: Invocation = context.obj
    if sources.count("-") > 1:
        raise WrongUsage("Standard input can be read once only.", "Name a file for the other.")
    for flag, place in (("--from", wanted.begin), ("--until", wanted.until)):
        if place is not None and place.kind == "number":
            raise WrongUsage(
                f"{flag} n={place.value} is a number in one recording, and merging numbers anew.",
                "Name a time or a mark, or take a part of each first: `megabot recordings cut`.",
            )
    secrets = more_secrets(invocation)
    with ExitStack() as stack:
        readers = [
            stack.enter_context(open_any(source_place(invocation, each), secrets=secrets))
            for each in sources
        ]
        write = stack.enter_context(writing_to(invocation, destination, force=force))
        progress = stack.enter_context(Progress(invocation.console, "merging"))
        merged = write_merged(readers, sources, write, progress.advance, wanted)
        if not merged.written:
            require_marks(readers[0])
    for reader in readers:
        tell_warnings(invocation, reader)
    tell_made(invocation, destination, records=merged.written)
    if not merged.written and not wanted.everything:
        invocation.console.warn("nothing was wanted: the recording is empty")
