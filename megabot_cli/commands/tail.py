"""`megabot tail`: messages as they pass."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.selection_words import (
    ClientWord,
    DirectionWord,
    GrepWord,
    SessionWord,
    TypeWord,
    selection,
)
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import WrongUsage

SHOWN_WITHOUT_FOLLOWING = 10  # as many as tail(1)


@forms("line", "wide", "json", "jsonl", "raw")
@examples(
    ("megabot tail", "Everything that passes the relay, or what the upstream sends"),
    ("megabot tail --type 'chat_*' --assemble", "Conversations, each answer as one text"),
    ("megabot tail -n 50 --no-follow --grep error", "The last that mention an error"),
    ("megabot tail --json | jq -r .type", "For programs: records as in a recording"),
)
def tail(
    context: typer.Context,
    types: TypeWord = None,
    direction: DirectionWord = None,
    session: SessionWord = None,
    client: ClientWord = None,
    grep: GrepWord = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--lines",
            metavar="N",
            min=0,
            help="Begin with the last N of the relay's recording.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on with what comes.")
    ] = True,
    assemble: Annotated[
        bool, typer.Option("--assemble", help="Show the chunks of an answer as one text.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Show openings, closings and gaps too.")
    ] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Connect upstream, even if a relay runs.")
    ] = False,
) -> None:
    """Show messages as they pass.

    Where a relay runs, everything that passes it; else what the upstream sends to a
    connection of our own (with --session to one on that session). Reconnects for ever and
    says where something may be missing.
    """
    from megabot_cli.commands.running import run
    from megabot_cli.commands.tailing import Tail, follow_relay, follow_upstream, show_history
    from megabot_cli.terminal.record_printer import RecordPrinter

    invocation: Invocation = context.obj
    form: Any = invocation.output
    relay = None if direct else invocation.running_relay()
    wanted = selection(types, direction, session, client, grep)
    printer = RecordPrinter(invocation.console, form, events=events, assemble=assemble)
    watch = Tail(invocation, wanted, printer)
    count = lines if lines is not None else 0 if follow else SHOWN_WITHOUT_FOLLOWING
    if direct and (count or not follow):
        raise WrongUsage(
            "--direct has no history", "-n and --no-follow read the relay's recording."
        )
    if not follow:
        show_history(watch, relay, count)
    elif relay is not None:
        run(follow_relay(watch, relay, count))
    else:
        run(follow_upstream(watch))
