"""Write a recording again with less in it."""

from __future__ import annotations

from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings_output import (
    Destination,
    Force,
    Source,
    more_secrets,
    source_place,
    tell_warnings,
    writing_to,
)
from megabot_cli.commands.tree import examples, forms


@forms("text")
@examples(
    ("megabot rec sanitize last safe.jsonl --key ssn --key address", "More keys than usual"),
    (r"megabot rec sanitize last safe.jsonl --pattern 'K-\d{6}'", "Whatever looks like that"),
    ("megabot rec sanitize last shape.jsonl --drop-payload", "Who, when and how much, not what"),
)
def sanitize(
    context: typer.Context,
    source: Source,
    destination: Destination,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="NAME", help="Redact what stands under this key or path."),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option("--pattern", metavar="RE", help="Redact what this expression finds."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="TYPE", help="Leave out messages of this type (GLOB)."),
    ] = None,
    drop_payload: Annotated[
        bool, typer.Option("--drop-payload", help="Leave out what messages say.")
    ] = False,
    force: Force = False,
) -> None:
    """Write a recording again with less in it.

    Redacted is what a recorder with today's configuration would redact, and what `--key` and
    `--pattern` name. Equal secrets get equal pseudonyms; those that stand there stay. Lines
    without secrets stay as they are, with their numbers and times.
    """
    from megabot_cli.storage.converting import watched
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.foreign_reader import MoreSecrets
    from megabot_cli.storage.sanitizing import Dropping
    from megabot_cli.storage.sanitizing import sanitize as write_again
    from megabot_cli.terminal.progress import Progress

    invocation: Invocation = context.obj
    configured = more_secrets(invocation)
    secrets = MoreSecrets(
        [*configured.keys, *(key or ())], [*configured.patterns, *(pattern or ())]
    )
    dropping = Dropping(tuple(drop or ()), drop_payload)
    with (
        open_any(source_place(invocation, source), secrets=configured) as reader,
        writing_to(invocation, destination, force=force) as write,
        Progress(invocation.console, "sanitizing") as progress,
    ):
        lines = watched(reader.lines(), progress.advance)
        done = write_again(reader, lines, write, secrets, dropping)
    tell_warnings(invocation, reader)
    invocation.console.note(
        f"{done.written} records written, {done.changed} of them changed, {done.dropped} dropped."
    )
