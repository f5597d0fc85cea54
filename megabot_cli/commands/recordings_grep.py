"""`megabot recordings grep`: find messages in recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord, layout
from megabot_cli.commands.recordings import at_once, find, open_source, tell_unreadable, unix_time
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import examples, forms
from megabot_cli.errors import MegabotError, NotFound, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection
    from megabot_cli.storage.recordings_list import RecordingInfo
    from megabot_cli.terminal.record_printer import RecordPrinter


class _Source(NamedTuple):
    """What is looked through; `listed` where it was not named itself and may be gone by now."""

    name: str
    place: Path | str
    listed: bool


@forms("line", "wide", "json", "jsonl", "raw")
@examples(
    ("megabot rec grep 'timed? out'", "Whatever mentions a timeout, in all recordings"),
    (
        "megabot rec grep '' last --type '*_error' --around 3",
        "Errors, and what is around them",
    ),
    ("megabot rec grep deploy --where 'size > 10000' --names", "Which recordings have such"),
)
@selecting("grep")
def grep(
    context: typer.Context,
    pattern: Annotated[
        str,
        typer.Argument(metavar="PATTERN", help="A regular expression; '' finds every message."),
    ],
    recordings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECORDING]...", help="Ids, last, paths or -; else all there are."),
    ] = None,
    *,
    wanted: Selection,
    events: Annotated[
        bool, typer.Option("--events", help="Look at openings, closings and gaps too.")
    ] = False,
    count: Annotated[bool, typer.Option("--count", help="Say only how many there are.")] = False,
    names: Annotated[
        bool, typer.Option("--names", help="Say only in which recordings there are any.")
    ] = False,
    fields: FieldsWord = None,
    template: TemplateWord = None,
) -> None:
    """Find messages in recordings.

    What is found is shown as `recordings show` does, oldest recording first; a folder is looked
    through with all recordings in it. Ends with 9 when nothing is found.
    """
    import msgspec

    from megabot_cli.recording.selection import expression
    from megabot_cli.terminal.record_printer import RecordPrinter

    invocation: Invocation = context.obj
    expression(pattern, "PATTERN")
    if (recordings or []).count("-") > 1:
        raise WrongUsage("Standard input can be read once only.", "Name a file for the other.")
    given = wanted
    wanted = msgspec.structs.replace(wanted, grep=pattern or None)
    events = events or wanted.asks_for_events
    if not events:
        wanted = wanted.of_messages()
    if count or names:
        wanted = msgspec.structs.replace(wanted, around=0, limit=1 if names else wanted.limit)
    form: Any = invocation.output
    # What is counted is what would be shown.
    printer = RecordPrinter(
        invocation.console,
        form,
        events=events,
        layout=None if count or names else layout(fields, template, form),
        chosen_as_shown=True,
    )
    sources = _sources(invocation, recordings)
    found = 0
    counts: dict[str, int] = {}
    for name, source, listed in sources:
        try:
            here = _search(
                invocation,
                source,
                wanted,
                printer,
                shows=not (count or names),
                named=len(sources) > 1,
            )
        except NotFound as fault:
            if not listed:
                raise
            invocation.console.warn(f"{fault.message} It was removed meanwhile.")
            continue
        found += here
        if count or (names and here):
            counts[name] = here
            if form not in ("json", "jsonl"):
                _say(invocation, name, str(here) if count else None, alone=len(sources) == 1)
            elif form == "jsonl":
                invocation.console.json(_fact(name, here, count=count))
    if form == "json" and (count or names):
        facts = [_fact(name, here, count=count) for name, here in counts.items()]
        invocation.console.json(facts, indent=invocation.indent)
    if not found:
        if pattern and not recordings and _names_a_recording(invocation, pattern):
            hint = f"{pattern!r} was the pattern; to look through it: recordings grep '' {pattern}"
            raise NotFound("Nothing was found", hint)
        raise NotFound("Nothing was found", _where_to_look(pattern, given, events=events))


def _say(invocation: Invocation, name: str, count: str | None, *, alone: bool) -> None:
    from megabot_cli.terminal.text import safe_line

    # A program gets the name as it is, to open what it names.
    shown = safe_line(name) if invocation.console.out_is_terminal else name
    if count is not None:
        shown = count if alone else f"{shown}: {count}"
    invocation.console.line(shown)


def _fact(name: str, here: int, *, count: bool) -> dict[str, Any]:
    return {"recording": name, "count": here} if count else {"recording": name}


def _names_a_recording(invocation: Invocation, name: str) -> bool:
    try:
        find(invocation, name)
    except MegabotError:
        return False
    return True


def _where_to_look(pattern: str, given: Selection, *, events: bool) -> str | None:
    """What to try after nothing was found: whatever chose more narrowly than it had to."""
    from megabot_cli.commands.selection_words import flags_of

    if pattern:
        every = "event too" if events else "message; --events looks at marks and closings too"
        return f"An empty pattern, '', finds every {every}."
    if flags := flags_of(given):
        return f"Chosen by {', '.join(flags)}; `megabot recordings stats` lists the types."
    return None if events else "--events looks at openings, closings and gaps too."


def _sources(invocation: Invocation, names: list[str] | None) -> list[_Source]:
    """What to look through, in the order of the names, and where none is given oldest first."""
    if not names:
        found = _all_in(invocation, invocation.recordings_folder)
        if not found:
            raise NotFound(
                f"There are no recordings in {invocation.recordings_folder}",
                "`megabot relay` records while it runs.",
            )
        return [_Source(each.name, each.path, listed=True) for each in found]
    sources = []
    for name in names:
        several = _all_in(invocation, Path(name)) if _is_of_several(name) else []
        if several:
            sources += [_Source(str(each.path), each.path, listed=True) for each in several]
        else:
            place = find(invocation, name)
            sources.append(_Source(_id_of(invocation, name, place), place, listed=False))
    return sources


def _is_of_several(name: str) -> bool:
    """Whether it is a folder that holds recordings, and none itself."""
    from megabot_cli.storage.recording_folder import segments_of
    from megabot_cli.storage.recordings_list import recordings_in

    folder = Path(name)
    if name == "last":  # which is one, whatever else is called so
        return False
    try:
        return folder.is_dir() and not segments_of(folder) and len(recordings_in(folder)) > 1
    except OSError:
        return False


def _all_in(invocation: Invocation, folder: Path) -> list[RecordingInfo]:
    """All recordings in a folder, oldest first; tells of those that cannot be read."""
    from megabot_cli.storage.recordings_list import Unreadable, list_recordings

    unreadable: list[Unreadable] = []
    found = list_recordings(folder, unreadable)
    tell_unreadable(invocation, unreadable)
    return found[::-1]


def _id_of(invocation: Invocation, name: str, place: Path | str) -> str:
    """The whole id where the start of one was typed, or `last`; a path as it was typed."""
    if isinstance(place, Path) and place.parent == invocation.recordings_folder:
        return place.name
    return name


def _search(
    invocation: Invocation,
    source: Path | str,
    wanted: Selection,
    printer: RecordPrinter,
    *,
    shows: bool,
    named: bool,
) -> int:
    """Show what is wanted of one recording; return how much that was."""
    from megabot_cli.storage.choosing import choose
    from megabot_cli.terminal.text import safe_line

    found = 0
    with open_source(invocation, source) as reader, at_once(invocation, str(source)):
        header = reader.header
        started_at = unix_time(header.started_at if header else "")
        for record, line in choose(reader, wanted, printer.leaves_out):
            if shows:
                if named and not found and printer.for_people:
                    title = (header and header.recording) or str(source)
                    invocation.console.line(invocation.console.paint(safe_line(title), "bold"))
                printer.show(record, started_at + record.t / 1e6, line)
            found += 1
        for warning in reader.warnings:
            invocation.console.warn(warning)
    return found
