"""`megabot relay status|clients|…`: talk to the relay that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord
from megabot_cli.commands.rows import LIST_FORMS, show_facts, show_rows
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import SessionName, duration
from megabot_cli.errors import MegabotError, WrongUsage
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection
    from megabot_cli.storage.run_files import RunningRelay


_OFTENEST_S = 0.1  # that `top` looks
_LEAST_FAULT = 36  # columns of the screen: what went wrong, and where


@forms("text", "json")
@examples(
    ("megabot relay status", "Is it up, who is there, what waits"),
    ("megabot relay status --json | jq .links", "For scripts"),
    ("megabot relay status --fields ready,clients", "Without jq"),
)
def status(
    context: typer.Context, fields: FieldsWord = None, template: TemplateWord = None
) -> None:
    """How the running relay is.

    Links, clients, what waits, what is recorded.
    """
    invocation: Invocation = context.obj
    facts = _ask(invocation, "status")
    if fields is not None or template is not None:
        show_facts(invocation, facts, fields, template)
        return
    if invocation.output == "json":
        invocation.console.json(facts, indent=invocation.indent)
    else:
        from megabot_cli.commands.relay_status import print_status

        print_status(invocation.console, facts)


@forms(*LIST_FORMS)
@examples(
    ("megabot relay clients", "Who is connected, and how far behind"),
    ("megabot relay clients --fields id,messages.to_client", "For scripts"),
)
def clients(
    context: typer.Context, fields: FieldsWord = None, template: TemplateWord = None
) -> None:
    """Who is connected to it.

    The longest connected first. Of a relay that serves several profiles, with whose each is;
    with -p those of that one.
    """
    from megabot_cli.terminal.progress import format_duration
    from megabot_cli.terminal.views import size

    # What tells of trouble stands first: a narrow terminal cuts rows at their end.
    headings = ("client", "name", "connected", "waiting", "sent", "got", "role", "session")
    _show_list(
        context.obj,
        "clients",
        headings,
        lambda each: (
            each["id"],
            each["name"] or "-",
            format_duration(each["connected_s"]),
            size(each["outbox_bytes"]),
            str(each["messages"]["to_upstream"]),
            str(each["messages"]["to_client"]),
            each["role"] or "-",
            each["session"] or "-",
        ),
        (fields, template),
        profile_at=2,
        flexible="name",
    )


@forms(*LIST_FORMS)
@examples(("megabot relay sessions", "Each session, its link's state, and what it waits for"))
def sessions(
    context: typer.Context, fields: FieldsWord = None, template: TemplateWord = None
) -> None:
    """Its sessions and their links.

    Of a relay that serves several profiles, with whose each is; with -p those of that one.
    """
    # What tells of trouble stands first: a narrow terminal cuts rows at their end.
    headings = ("session", "state", "fault", "clients", "waiting", "requests", "link")
    _show_list(
        context.obj,
        "sessions",
        headings,
        lambda each: (
            each["session"] or "-",
            each["state"],
            each["fault"] or "-",
            str(each["clients"]),
            str(each["waiting"]),
            str(each["requests"]),
            each["link"],
        ),
        (fields, template),
        profile_at=3,
        flexible="fault",
        least=_LEAST_FAULT,
    )


@forms("text", "json")
@examples(
    ("megabot relay close client_1m8…", "One client; it hears close code 1001"),
    ("megabot relay close link_1m8…", "Break a link; the relay dials again"),
)
def close(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            parser=SessionName(),
            help="Of a client, a session or a link; a client_id.",
        ),
    ],
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="What the client is told.")
    ] = None,
) -> None:
    """Close a client, session or link.

    A session is closed with all its clients, and is not ended upstream. A link that is
    closed is dialled again. With -p only what is of that profile.
    """
    if not name.strip():
        raise WrongUsage(
            "ID is empty", "`megabot relay clients` and `megabot relay sessions` list them."
        )
    done = _tell(context.obj, "close", id=name, reason=reason, profile=_named(context.obj))
    _say(context.obj, done, f"closed the {done.get('closed')} {name}")


@forms("text", "json")
@examples(("megabot relay drain", "Before an upgrade: nobody loses an answer"))
def drain(context: typer.Context) -> None:
    """Let work finish, then stop it.

    It takes no new clients from now on, of whichever of its profiles.
    """
    done = _tell(context.obj, "drain")
    _say(context.obj, done, f"draining; clients connected: {done.get('clients')}")


@forms("text", "json")
@examples(("megabot relay reauth", "After `megabot login`, when the credential had been refused"))
def reauth(context: typer.Context) -> None:
    """Have it read its credential anew.

    Links that were refused try again. Of a relay that serves several profiles it is all of them,
    with -p that one.
    """
    done = _tell(context.obj, "reauth", profile=_named(context.obj))
    _say(
        context.obj,
        done,
        f"read the credential anew; {counted(done['links'], 'link')} will try again",
    )


@forms("text", "json")
@examples(("megabot relay reload", "After config.yaml was changed"))
def reload(context: typer.Context) -> None:
    """Have it read its configuration anew.

    And its credential and certificates, as SIGHUP does. Names what waits for a
    restart. Where a full disk has ended the recording, another one begins.
    """
    done = _tell(context.obj, "reload")
    changed = ", ".join(done.get("changed", ())) or "nothing"
    again = f"; recording again, in {done['recording']}" if done.get("recording") else ""
    _say(context.obj, done, f"changed: {changed}{again}")
    if waits := done.get("needs_restart"):
        invocation: Invocation = context.obj
        invocation.console.warn(f"only after a restart: {', '.join(waits)}")


@forms("text", "json")
@examples(
    ('megabot relay mark "deployed 1.4"', "Find this moment in the recording later"),
)
def mark(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the mark says.")],
) -> None:
    """Put a mark into the recording."""
    if not (text := text.strip()):
        raise WrongUsage("TEXT is empty", "Say what `--from` shall find.")
    done = _tell(context.obj, "mark", text=text)
    where = done.get("recording")
    _say(context.obj, done, f"marked in {where}" if where else "marked for taps; nothing records")


@forms("text", "json")
@examples(("megabot relay level debug", "A line for each message, until set back"))
def level(
    context: typer.Context,
    name: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Argument(metavar="LEVEL", help="Lines of this level and above."),
    ],
) -> None:
    """Set how much it logs."""
    done = _tell(context.obj, "level", level=name)
    _say(context.obj, done, f"logging at {done.get('level')}")


@forms("text", "json")
@examples(
    ("megabot relay dump", "What passed lately, as a recording"),
    ("megabot relay dump --json | jq -r .recording", "Where it is, for a script"),
    ("megabot relay dump -s sess_1 --where 'size > 1000'", "Only what is wanted of it"),
)
@selecting()
def dump(
    context: typer.Context,
    wanted: Selection,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Kept with the recording.")
    ] = None,
) -> None:
    """Write out the flight recorder.

    What passed lately becomes a recording; `megabot relay --ring 5m` keeps five minutes.
    """
    from megabot_cli.recording.selection import Selection

    wanted.matcher()  # a wrong word is told before anything is written
    done = _tell(context.obj, "dump", reason=reason)
    invocation: Invocation = context.obj
    if wanted != Selection():
        part, records = _part_of(Path(str(done["recording"])), wanted)
        done["recording"] = str(part)
        if not records:
            invocation.console.warn("nothing was wanted: the recording is empty")
    if invocation.output == "json":
        invocation.console.json(done)
    else:
        invocation.console.line(str(done.get("recording")))


def _part_of(whole: Path, wanted: Selection) -> tuple[Path, int]:
    """A recording of what is wanted of a dump, in its place, and how many records that are:
    secrets are found in the whole."""
    from megabot_cli.storage.choosing import choose
    from megabot_cli.storage.compressing import ENDING, compress
    from megabot_cli.storage.converting import new_recording_id, write_part
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.index_file import LEAST_BYTES
    from megabot_cli.storage.index_finding import refresh_index
    from megabot_cli.storage.new_file import NewFile

    part = whole.parent / new_recording_id()
    try:
        part.mkdir(mode=0o700)
        with open_any(whole) as reader, NewFile(part / "000001.jsonl") as file:
            lines = choose(reader, wanted)
            made = write_part(reader, lines, file.write, "dump", wanted, recording=part.name)
    except (OSError, MegabotError) as fault:
        with suppress(OSError):
            part.rmdir()
        why = fault.message if isinstance(fault, MegabotError) else f"{part}: {fault.strerror}."
        raise MegabotError(
            why, f"All of it is in {whole}: `megabot recordings cut` chooses from that."
        ) from fault
    refresh_index(part / "000001.jsonl", LEAST_BYTES)
    for segment in list(whole.iterdir()):
        if segment.suffix == ENDING:  # as the relay was told to keep them
            compress(part / "000001.jsonl")
        segment.unlink()
    whole.rmdir()
    return part, made.written


@forms("text", "jsonl")
@examples(
    ("megabot relay top", "A live screen: rates, clients, slow answers; q ends it"),
    ("megabot relay top --jsonl --every 10s", "A line every ten seconds, for a log"),
)
def top(
    context: typer.Context,
    every: Annotated[
        float, typer.Option("--every", parser=duration, metavar="DURATION", help="Between looks.")
    ] = 1.0,
    number: Annotated[
        int,
        typer.Option("-n", "--number", metavar="N", min=0, help="Stop after N looks; 0 is never."),
    ] = 0,
) -> None:
    """Watch it work, live.

    Rates, links, clients, and the slowest answers of the last minute. In a pipe it prints one look
    after another, or with --jsonl one line each.
    """
    from megabot_cli.terminal.asking import Asked
    from megabot_cli.terminal.relay_screen import Screen

    invocation: Invocation = context.obj
    if every < _OFTENEST_S:
        raise WrongUsage("--every: no more often than every 100ms", "Write 100ms or more.")
    only_facts = invocation.output == "jsonl"

    def look() -> tuple[Any, Any]:
        return _ask(invocation, "status"), [] if only_facts else _ask(invocation, "clients")

    screen = Screen(invocation.console)
    looks = 0
    with screen:
        while True:
            asked = Asked(look)
            if not screen.wait_for(asked):
                return
            facts, connected = asked.answer()
            if only_facts:
                invocation.console.json(facts)
            else:
                screen.show(facts, connected, time.monotonic())
            looks += 1
            if (number and looks >= number) or not screen.wait(every):
                return


def _show_list(
    invocation: Invocation,
    what: str,
    headings: tuple[str, ...],
    row: Callable[[Any], tuple[str, ...]],
    words: tuple[str | None, ...],
    *,
    profile_at: int,
    flexible: str,
    least: int = 0,
) -> None:
    """Of the profile that was named, or of all; then, where any is of another one than is in
    force, the column `profile_at` says whose.

    `flexible`: the column that gives way on a narrow terminal, down to `least` of its columns.
    """
    from megabot_cli.commands.admin_request import FIELDS
    from megabot_cli.terminal.views import print_table

    found, named = _ask(invocation, what), _named(invocation)
    if named is not None:
        found = [each for each in found if each["profile"] == named]

    def table() -> None:
        shown, rows = list(headings), [list(row(each)) for each in found]
        if any(each["profile"] != invocation.configuration.profile_name for each in found):
            shown.insert(profile_at, "profile")
            for cells, each in zip(rows, found, strict=True):
                cells.insert(profile_at, each["profile"])
        place = shown.index(flexible)
        print_table(invocation.console, shown, rows, flexible=place, least=least)

    show_rows(
        invocation,
        found,
        columns=FIELDS[what],
        fields=words[0],
        template=words[1],
        table=table,
        nothing=f"There are no {what}.",
    )


def _say(invocation: Invocation, done: dict[str, Any], text: str) -> None:
    if invocation.output == "json":
        invocation.console.json(done)
    else:
        invocation.console.note(text)


def _ask(invocation: Invocation, what: str) -> Any:
    from megabot_cli.commands.admin_request import ask_relay

    return ask_relay(_running(invocation), what)


def _tell(invocation: Invocation, deed: str, **wishes: Any) -> dict[str, Any]:
    given = {name: value for name, value in wishes.items() if value is not None}
    from megabot_cli.commands.admin_request import ask_relay

    done: dict[str, Any] = ask_relay(_running(invocation), deed, given)
    return done


def _named(invocation: Invocation) -> str | None:
    """The profile that was named with the command; the one in force only says which relay."""
    return invocation.options.profile


def _running(invocation: Invocation) -> RunningRelay:
    from megabot_cli.errors import NotFound
    from megabot_cli.storage.run_files import find_running_relay, running_relays

    profile = invocation.configuration.profile_name
    relay = find_running_relay(invocation.places.run, profile)
    if relay is None:
        others = sorted({each.profile for each in running_relays(invocation.places.run)})
        hint = "Start one with `megabot relay`."
        if others:
            hint = f"One runs for {', '.join(others)}: -p says which is meant."
        raise NotFound(f"No relay runs for profile {profile!r}", hint)
    return relay
