"""Write a recording again with less in it."""

from __future__ import annotations

from typing import Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings_output import (
    Destination,
    Force,
    MoreKeys,
    MorePatterns,
    Source,
    more_secrets,
    source_place,
    tell_made,
    tell_warnings,
    writing_to,
)
from megabot_cli.commands.tree import ONE_RECORDING, examples, forms, takes_no_more


@forms("text", "json")
@examples(
    ("megabot rec sanitize last safe.jsonl --key ssn --key address", "More keys than usual"),
    (r"megabot rec sanitize last safe.jsonl --pattern 'K-\d{6}'", "Whatever looks like that"),
    ("megabot rec sanitize last shape.jsonl --drop-payload", "Who, when and how much, not what"),
)
@takes_no_more(ONE_RECORDING)
def sanitize(
    context: typer.Context,
    source: Source,
    destination: Destination,
    key: MoreKeys = None,
    pattern: MorePatterns = None,
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
    without secrets stay as they are, with their numbers and times. What the source lost becomes
    a `gap`.

    Streamed answers are looked at as a whole: a secret over several chunks, up to 4096
    characters long, goes from all of them. What a recorder took out in pieces stays so.
    """
    from megabot_cli.storage.converting import watched
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.losses import with_losses
    from megabot_cli.storage.sanitizing import Dropping
    from megabot_cli.storage.sanitizing import sanitize as write_again
    from megabot_cli.terminal.progress import Progress
    from megabot_cli.wording import counted

    invocation: Invocation = context.obj
    secrets = more_secrets(invocation, key, pattern)
    dropping = Dropping(tuple(drop or ()), drop_payload)
    with (
        open_any(source_place(invocation, source), secrets=more_secrets(invocation)) as reader,
        writing_to(invocation, destination, force=force) as write,
        Progress(invocation.console, "sanitizing") as progress,
    ):
        lines = watched(with_losses(reader), progress.advance)
        done = write_again(reader, lines, write, secrets, dropping)
    tell_warnings(invocation, reader)
    counts = {"records": done.written, "changed": done.changed, "dropped": done.dropped}
    tell_made(invocation, destination, **counts)
    invocation.console.note(
        f"{counted(done.written, 'record')} written, "
        f"{done.changed} of them changed, {done.dropped} dropped."
    )
    # A misspelt name would hand the secret over.
    if (key or pattern) and not done.changed:
        invocation.console.warn("nothing was found of what --key and --pattern name")
    if drop and not done.dropped:
        invocation.console.warn("nothing was found of what --drop names")
