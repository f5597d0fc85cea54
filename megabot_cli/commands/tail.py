"""`megabot tail`: messages as they pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord, layout
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import MostlyOneOf, duration
from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection


@forms("line", "wide", "json", "jsonl", "raw")
@examples(
    ("megabot tail", "Everything that passes the relay, or what the upstream sends"),
    ("megabot tail --type 'chat_*' --assemble", "Conversations, each answer as one text"),
    ("megabot tail -n 50 --no-follow --grep error", "The last that mention an error"),
    ("megabot tail --since 10m --where 'size > 10000'", "What was long of late, and will be"),
    ("megabot tail relay profile:staging", "Two at once, each line saying which"),
    ("megabot tail before.jsonl after.jsonl", "Two recordings, merged by time"),
    ("megabot tail --fail-on 'payload.code >= 500' --limit 100", "13 at the first such error"),
    ("megabot tail --stats --type 'chat_*' > /dev/null", "Only the figures, in the end"),
    ("megabot tail --json | jq -r .type", "For programs: records as in a recording"),
)
@selecting()
def tail(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            parser=MostlyOneOf("relay", "upstream", "profile:"),
            help="relay, upstream, profile:NAME, recordings, or - for stdin.",
        ),
    ] = None,
    *,
    wanted: Selection,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--lines",
            metavar="N",
            min=0,
            help="Begin with the last N that were recorded; --from with all since then.",
        ),
    ] = None,
    since: Annotated[
        float | None,
        typer.Option(
            "--since", parser=duration, metavar="DURATION", help="From so long ago; as --from."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on with what comes.")
    ] = True,
    assemble: Annotated[
        bool, typer.Option("--assemble", help="Show the chunks of an answer as one text.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Show openings, closings and gaps too.")
    ] = False,
    fields: FieldsWord = None,
    template: TemplateWord = None,
    stats: Annotated[bool, typer.Option("--stats", help="Sum up in the end, on stderr.")] = False,
    stats_every: Annotated[
        float | None,
        typer.Option(
            "--stats-every", parser=duration, metavar="DURATION", help="Sum up so often, too."
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", metavar="CEL", help="End with 13 when this holds for one."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DIR", help="Keep what comes as a recording in here."),
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Connect upstream, even if a relay runs.")
    ] = False,
) -> None:
    """Show messages as they pass.

    Where a relay runs, everything that passes it; else what the upstream sends to a
    connection of our own (with --session to one on that session). Reconnects for ever and
    says where something may be missing. A dashed arrow is what the relay itself said.
    Several sources are merged: recordings by their time, what is live as it comes.
    """
    from megabot_cli.commands.tail_sources import Wishes, show

    invocation: Invocation = context.obj
    if direct and wanted.begin is not None:
        raise WrongUsage("--direct has no history", "--from reads the relay's recording.")
    if since is not None and wanted.begin is not None:
        raise WrongUsage("--since and --from exclude each other", "Give one of them.")
    if assemble and invocation.output not in ("line", "wide"):
        raise WrongUsage(
            f"--assemble has no meaning with -o {invocation.output}, which has every chunk",
            "Leave one of them out.",
        )
    show(
        invocation,
        sources or [],
        wanted,
        Wishes(
            lines=lines,
            since_s=since,
            follow=follow,
            assemble=assemble,
            events=events,
            layout=layout(fields, template, invocation.output),
            stats=stats or stats_every is not None,
            stats_every_s=stats_every or 0.0,
            fail_on=fail_on,
            record=record,
            direct=direct,
        ),
    )
