"""`megabot recordings prune`: remove what has been kept long enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms, takes_no_more
from megabot_cli.commands.values import days, size_in_bytes
from megabot_cli.errors import PartlyFailed, WrongUsage
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.storage.retention import KeptSegment


@forms("text", "json")
@examples(
    ("megabot recordings prune --keep-days 30 --dry-run", "What is older than a month?"),
    ("megabot recordings prune --keep-bytes 10GiB --yes", "From cron"),
)
@takes_no_more(
    "It takes no names: --keep-days or --keep-bytes choose. In another folder: "
    "`MEGABOT_RECORDING_FOLDER=DIR megabot recordings prune`"
)
def prune(
    context: typer.Context,
    keep_days: Annotated[
        float | None,
        typer.Option("--keep-days", parser=days, metavar="N", help="Remove what is older."),
    ] = None,
    keep_bytes: Annotated[
        int | None,
        typer.Option(
            "--keep-bytes",
            parser=size_in_bytes,
            metavar="SIZE",
            help="Remove the oldest until all take no more than this: 500MB, 10GiB.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Remove recordings that have been kept long enough.

    Whole sealed segments go, the oldest first; what is being written stays, and so do single
    files beside them, as `recordings cut` writes: those are yours. Without limits
    here, recording.keep_days and recording.keep_bytes hold.
    """
    from megabot_cli.storage.retention import kept_segments, outlived, remove
    from megabot_cli.terminal.progress import Progress

    invocation: Invocation = context.obj
    settings = invocation.configuration.settings.recording
    if keep_days is None and keep_bytes is None:
        keep_days, keep_bytes = settings.keep_days, settings.keep_bytes
    if keep_days is None and keep_bytes is None:
        raise WrongUsage(
            "Nothing says how much to keep", "Name --keep-days or --keep-bytes, or set them."
        )
    folder = invocation.recordings_folder
    gone = outlived(kept_segments(folder), keep_days=keep_days, keep_bytes=keep_bytes)
    removes = bool(gone) and not dry_run
    if removes and not yes and not invocation.may_ask:
        raise WrongUsage("Removing wants your word, and this is no terminal", "Add --yes.")
    if invocation.output != "json":
        _print_table(invocation, gone)
    if removes and not yes and not _agreed(gone):
        invocation.console.note("Nothing was removed.")
        removes = False
    if invocation.output == "json":
        _print_json(invocation, gone, removed=removes)
    if not removes:
        return
    with Progress(invocation.console, "removing", len(gone)) as progress:
        refused = remove(gone, lambda _: progress.advance())
    if invocation.output != "json":
        invocation.console.note(f"removed {counted(len(gone) - len(refused), 'segment')}")
    if refused:
        segment, fault = refused[0]
        raise PartlyFailed(
            f"{len(refused)} of {len(gone)} segments could not be removed; the first, "
            f"{segment.path}: {fault.strerror or fault}"
        )


def _agreed(gone: list[KeptSegment]) -> bool:
    """Ask whoever sits there."""
    from megabot_cli.terminal.stdin import ask

    return ask(f"Remove {counted(len(gone), 'segment')}? [y/N] ").lower() in ("y", "yes")


def _print_json(invocation: Invocation, gone: list[KeptSegment], *, removed: bool) -> None:
    facts = [
        {"recording": each.recording, "path": str(each.path), "bytes": each.bytes, "at": each.at}
        for each in gone
    ]
    found = {"removes": removed, "bytes": sum(each.bytes for each in gone), "segments": facts}
    invocation.console.json(found, indent=2)


def _print_table(invocation: Invocation, gone: list[KeptSegment]) -> None:
    from megabot_cli.terminal.views import date_and_time, print_table, size

    if not gone:
        invocation.console.note("Nothing has been kept too long.")
        return
    rows = [
        (each.recording, each.path.name, date_and_time(each.at), size(each.bytes)) for each in gone
    ]
    headings = ("recording", "segment", "last written", "size")
    print_table(invocation.console, headings, rows)
    total = size(sum(each.bytes for each in gone))
    invocation.console.line(f"{counted(len(gone), 'segment')}, {total}")
