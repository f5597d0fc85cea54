"""`megabot recordings list`: which recordings there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord
from megabot_cli.commands.recordings import tell_unreadable, unix_time
from megabot_cli.commands.rows import LIST_FORMS, show_rows
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import MegabotError

if TYPE_CHECKING:
    from megabot_cli.storage.recordings_list import RecordingInfo, Unreadable


@forms(*LIST_FORMS)
@examples(
    ("megabot recordings list", "What there is, newest first"),
    ("megabot recordings list ./recordings", "What `relay --record ./recordings` kept"),
    ("megabot recordings list --fields path", "Only where they are, one a line"),
    ("megabot recordings list --json | jq -r '.[0].path'", "Where the newest is"),
)
def list_recordings(
    context: typer.Context,
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER|RECORDING]...",
            help="Folders of recordings, or recordings; else where recordings are kept.",
        ),
    ] = None,
    fields: FieldsWord = None,
    template: TemplateWord = None,
) -> None:
    """List the recordings there are.

    Of a folder those in it are listed, also single files (.jsonl, .jsonl.gz, .jsonl.zst) that
    `cut`, `merge` or `sanitize` wrote there; a recording by itself is named by its id or the
    beginning of one, last, or a path. What lies elsewhere than `recording.folder` is listed by its
    path. Ends with the code of the first of several places that cannot be listed, after the others.
    """
    from megabot_cli.storage.recordings_list import RecordingInfo, newest_first, recordings_at
    from megabot_cli.storage.recordings_list import list_recordings as all_in

    invocation: Invocation = context.obj
    own = invocation.recordings_folder
    unreadable: list[Unreadable] = []
    found: list[RecordingInfo] = []
    faults: list[MegabotError] = []
    if not places:
        found = all_in(own, unreadable)
    for place in places or ():
        try:
            found += recordings_at(own, place, unreadable)
        except MegabotError as fault:
            faults.append(fault)
    found = newest_first({each.path.resolve(): each for each in found}.values())
    tell_unreadable(invocation, unreadable)
    if found or not faults:
        show_rows(
            invocation,
            [_facts(each) for each in found],
            columns=RecordingInfo.__struct_fields__,
            fields=fields,
            template=template,
            table=lambda: _print_table(invocation, found),
            nothing=f"There are no recordings in {', '.join(places or [str(own)])}.",
        )
    for other in faults[1:]:
        invocation.console.warn(other.message)
    if faults:
        raise faults[0]


def _facts(info: RecordingInfo) -> Any:
    import msgspec

    return {**msgspec.structs.asdict(info), "path": str(info.path)}


def _print_table(invocation: Invocation, found: list[RecordingInfo]) -> None:
    from megabot_cli.terminal.progress import format_duration
    from megabot_cli.terminal.views import date_and_time, print_table, size

    own = invocation.recordings_folder
    rows = [
        (
            each.name if each.path.parent == own else str(each.path),
            date_and_time(unix_time(each.started_at)) if each.started_at else "unknown",
            "live" if each.live else "clean" if each.clean else "unclean",
            format_duration(each.duration_s),
            str(each.records),
            size(each.bytes),
            each.upstream,
        )
        for each in found
    ]
    headings = ("recording", "started", "state", "length", "records", "size", "upstream")
    print_table(invocation.console, headings, rows)
