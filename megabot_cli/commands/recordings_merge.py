"""Make one recording of several."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

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
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import WrongUsage


@forms("text", "json")
@examples(
    ("megabot rec merge rec_1m8 rec_1m9 both.jsonl", "Two relays, one story"),
    ("megabot rec merge last page.har all.jsonl", "What the relay saw, and what the browser saw"),
)
def merge(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCES...", help="Recordings, HAR files or bare messages."),
    ],
    destination: Destination,
    force: Force = False,
) -> None:
    """Make one recording of several, by time.

    Records are numbered anew. A client or link whose name an earlier recording uses as well
    gets a number behind it (`client_1@2`), unless both were cut from one recording. A hole in
    the numbers of a source becomes a `gap`.
    """
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.merging import merge as write_merged
    from megabot_cli.terminal.progress import Progress

    invocation: Invocation = context.obj
    if sources.count("-") > 1:
        raise WrongUsage("Standard input can be read once only.", "Name a file for the other.")
    secrets = more_secrets(invocation)
    with ExitStack() as stack:
        readers = [
            stack.enter_context(open_any(source_place(invocation, each), secrets=secrets))
            for each in sources
        ]
        write = stack.enter_context(writing_to(invocation, destination, force=force))
        progress = stack.enter_context(Progress(invocation.console, "merging"))
        merged = write_merged(readers, sources, write, progress.advance)
    for reader in readers:
        tell_warnings(invocation, reader)
    tell_made(invocation, destination, records=merged.written)
