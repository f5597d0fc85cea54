"""`megabot tail`: messages as they pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection

SHOWN_WITHOUT_FOLLOWING = 10  # as many as tail(1)


@forms("line", "wide", "json", "jsonl", "raw")
@examples(
    ("megabot tail", "Everything that passes the relay, or what the upstream sends"),
    ("megabot tail --type 'chat_*' --assemble", "Conversations, each answer as one text"),
    ("megabot tail -n 50 --no-follow --grep error", "The last that mention an error"),
    ("megabot tail --from 14:00 --where 'size > 10000'", "What was long since two, and will be"),
    ("megabot tail --json | jq -r .type", "For programs: records as in a recording"),
)
@selecting()
def tail(
    context: typer.Context,
    wanted: Selection,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--lines",
            metavar="N",
            min=0,
            help="Begin with the last N of the relay's recording; --from with all since then.",
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
    events = events or wanted.asks_for_events
    if not events:
        wanted = wanted.of_messages()
    printer = RecordPrinter(invocation.console, form, events=events, assemble=assemble)
    watch = Tail(invocation, wanted, printer)
    if direct and (lines or wanted.begin is not None or not follow):
        raise WrongUsage(
            "--direct has no history", "-n, --from and --no-follow read the relay's recording."
        )
    count = lines
    if count is None and wanted.begin is None:
        count = 0 if follow else SHOWN_WITHOUT_FOLLOWING
    if not follow:
        show_history(watch, relay, count)
    elif relay is not None:
        run(follow_relay(watch, relay, count))
    else:
        run(follow_upstream(watch))
