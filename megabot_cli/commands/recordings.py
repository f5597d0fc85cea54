"""Look into recordings, compare and change them.

A recording is named by its id, the beginning of one, `last`, a path, or `-` for stdin. A folder
in which one recording lies stands for that one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord, layout
from megabot_cli.commands.recordings_output import (
    ONLY_ASKED,
    MoreKeys,
    MorePatterns,
    more_secrets,
)
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import ONE_RECORDING, examples, forms, takes_no_more
from megabot_cli.errors import ExpectationFailed, WrongUsage
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from megabot_cli.recording.record import Record
    from megabot_cli.recording.selection import Selection
    from megabot_cli.storage.record_reader import RecordReader
    from megabot_cli.storage.recordings_list import Unreadable
    from megabot_cli.storage.verification import Verification

    Choosing = Callable[[RecordReader, Selection], Iterator[tuple[Record, bytes]]]

EXAMPLES = (
    ("megabot recordings list", "What there is, newest first"),
    ("megabot recordings show last --conversation", "Who asked what, what came, and how fast"),
    ("megabot recordings grep 'timed? out'", "Whatever mentions a timeout, in all recordings"),
    ("megabot recordings sanitize last safe.jsonl", "To hand over"),
)

_MOST_UNREADABLE = 5  # that are named

RecordingName = Annotated[
    str, typer.Argument(metavar="RECORDING", help="An id or its beginning, last, a path, or -.")
]


@forms("line", "wide", "json", "jsonl", "raw")
@examples(
    ("megabot recordings show last", "One line a message"),
    ("megabot rec show last --assemble --type 'chat_*'", "A conversation, answers in one piece"),
    ("megabot rec show last --conversation", "Who asked what, what came, and how fast"),
    ("megabot rec show last -o raw --direction to_upstream", "What was sent, exactly"),
    ("megabot rec show last --where 'payload.code >= 500' --around 5", "Errors, and about them"),
)
@takes_no_more(ONE_RECORDING)
@selecting()
def show(
    context: typer.Context,
    recording: RecordingName,
    wanted: Selection,
    assemble: Annotated[
        bool, typer.Option("--assemble", help="Show the chunks of an answer as one text.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Show openings, closings and gaps too.")
    ] = False,
    conversation: Annotated[
        bool,
        typer.Option(
            "--conversation",
            help="Show requests with what came to each: whole answers, tool calls, times.",
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail at a bad line instead of skipping it.")
    ] = False,
    fields: FieldsWord = None,
    template: TemplateWord = None,
) -> None:
    """Show what is in a recording."""
    from megabot_cli.storage.choosing import choose, started_at_s
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.with_answers import choose_with_answers
    from megabot_cli.terminal.record_printer import RecordPrinter

    invocation: Invocation = context.obj
    form: Any = invocation.output
    laid_out = layout(fields, template, form)
    if conversation and laid_out is not None:
        word = "--fields" if fields else "--template"
        raise WrongUsage(f"--conversation has no {word}", "Leave out one of the two.")
    events = events or wanted.asks_for_events
    chooses = not wanted.everything
    if not events and not conversation:
        wanted = wanted.of_messages()
    place, secrets = find(invocation, recording), more_secrets(invocation)
    with (
        open_any(
            place,
            strict=strict,
            secrets=secrets,
            at_once=place == "-",
            seen_indexing=indexing(invocation),
        ) as reader,
        on_pages(invocation, recording),
        at_once(invocation, recording),
    ):
        started_at = started_at_s(reader)
        is_any = False

        def chosen(choosing: Choosing) -> Iterator[tuple[Record, bytes]]:
            nonlocal is_any
            for each in choosing(reader, wanted):
                is_any = True
                yield each

        if conversation:
            cuts = wanted.may_cut_answers
            turns = chosen(choose_with_answers)
            _show_conversation(invocation, turns, started_at, cuts=cuts, chooses=chooses)
        else:
            printer = RecordPrinter(
                invocation.console,
                form,
                events=events,
                assemble=assemble,
                cuts_answers=wanted.may_cut_answers,
                layout=laid_out,
                chosen_as_shown=True,
            )
            for record, line in chosen(partial(choose, leaves_out=printer.leaves_out)):
                printer.show(record, started_at + record.t / 1e6, line)
            printer.end()
        for warning in reader.warnings:
            invocation.console.warn(warning)
    if chooses and not is_any:
        invocation.console.note("nothing in it was chosen; `megabot recordings stats` counts it")


def _show_conversation(
    invocation: Invocation,
    chosen: Iterable[tuple[Record, bytes]],
    started_at: float,
    *,
    cuts: bool,
    chooses: bool,
) -> None:
    from megabot_cli.recording.turn_facts import facts_of
    from megabot_cli.recording.turns import Turns
    from megabot_cli.terminal.conversation_printer import ConversationPrinter

    if invocation.output == "raw":
        raise WrongUsage("--conversation has no raw form", "Leave out one of the two.")
    printer = ConversationPrinter(
        invocation.console, invocation.output, started_at, cuts_answers=cuts
    )
    turns = Turns()
    wordless = 0
    directions = set()
    for record, _ in chosen:
        directions.add(record.direction)
        wordless += record.kind in ("message", "inject") and record.payload() is None
        for turn in turns.take(record):
            printer.show(facts_of(turn))
    for turn in turns.rest():
        printer.show(facts_of(turn))
    if chooses and "to_upstream" in directions and "to_client" not in directions:
        invocation.console.note(ONLY_ASKED)
    if wordless:
        what = counted(wordless, "message")
        invocation.console.note(
            f"what {what} said was left out of the recording; without --conversation each is shown"
        )


@forms("text", "json")
@examples(
    ("megabot recordings verify last", "Is all there, in order, unchanged?"),
    ("megabot rec verify last --no-secrets --json", "For CI: no secret in it either"),
    (r"megabot rec verify safe.jsonl --pattern 'K-\d{6}'", "Nothing that looks like that"),
)
@takes_no_more("One at a time: `for each in A B; do megabot recordings verify $each; done`")
def verify(
    context: typer.Context,
    recording: RecordingName,
    no_secrets: Annotated[
        bool, typer.Option("--no-secrets", help="Prove too that it holds no secret.")
    ] = False,
    key: MoreKeys = None,
    pattern: MorePatterns = None,
) -> None:
    """Prove that a recording is whole.

    Every record is counted, the order and the checksum compared, and an index beside a segment
    with what that holds. Ends with 13 when the recording is unclean, an index tells what is not
    so, or there is a secret where none may be: `--key` and `--pattern` name more secrets, as for
    `sanitize`, and have them sought. Streamed answers are looked at as a whole.

    Of a HAR file or bare messages it proves that they can be read, and that they hold no
    secret, be it beside the messages. Nothing in them tells whether any is missing or was
    changed.
    """
    import msgspec

    from megabot_cli.storage.verification import verify as read_through

    invocation: Invocation = context.obj
    secrets = more_secrets(invocation, key, pattern)
    secrets.redactor()  # refuses what is no pattern
    found = read_through(
        find(invocation, recording),
        secrets=no_secrets or bool(key or pattern),
        keys=secrets.keys,
        patterns=secrets.patterns,
    )
    if invocation.output == "json":
        invocation.console.json(msgspec.to_builtins(found), indent=invocation.indent)
    else:
        _print_verdict(invocation, found)
    what = "The recording" if found.form == "recording" else "The file"
    if found.secrets_found:
        raise ExpectationFailed(
            f"{what} holds {counted(found.secrets_found, 'secret')}",
            "Do not hand it on. `recordings sanitize` writes it again without what it is told.",
        )
    if not found.clean:
        raise ExpectationFailed(f"{what} is not clean", _why_unclean(found))


def _print_verdict(invocation: Invocation, found: Verification) -> None:
    from megabot_cli.terminal.text import safe_line
    from megabot_cli.terminal.views import print_facts

    console = invocation.console
    is_recording = found.form == "recording"
    good, bad = ("clean", "unclean") if is_recording else ("reads", "reads in part")
    verdict = console.paint(good, "green") if found.clean else console.paint(bad, "red")
    console.line(f"{safe_line(found.recording or str(found.path))}: {verdict}")
    facts = _counts_of(found) if is_recording else _counts_of_foreign(found)
    if found.secrets_found is not None:
        facts.append(("secrets", str(found.secrets_found)))
    print_facts(console, facts)
    for problem in found.problems:
        console.warn(problem)


def _counts_of(found: Verification) -> list[tuple[str, str]]:
    from megabot_cli.terminal.progress import format_duration
    from megabot_cli.terminal.views import size

    segments = counted(found.segments, "segment")
    missing = f"{counted(found.holes, 'hole')}, {found.torn_bytes} torn bytes"
    return [
        ("records", f"{found.records} in {segments}, {size(found.bytes)} of payload"),
        ("length", format_duration(found.duration_s)),
        ("missing", f"{missing}, {found.bad_lines} bad"),
        ("told lost", f"{found.lost} in {counted(found.gaps, 'gap')}"),
        ("redacted", str(found.redactions)),
    ]


def _counts_of_foreign(found: Verification) -> list[tuple[str, str]]:
    from megabot_cli.terminal.progress import format_duration
    from megabot_cli.terminal.views import size

    form = {"har": "a HAR file", "jsonl": "bare messages"}[found.form]
    return [
        ("form", form),
        ("messages", f"{found.messages}, {size(found.bytes)} of payload"),
        ("length", format_duration(found.duration_s)),
        ("missing", f"{found.torn_bytes} torn bytes, {found.bad_lines} bad, as far as it tells"),
        ("not told", f"{', '.join(found.not_told)}: only a recording has them"),
    ]


def _why_unclean(found: Verification) -> str:
    if found.form != "recording":
        return "What can be read of it replays."
    if found.live:
        return "It is still being written."
    return "It reads and replays up to where it was torn." if not found.sealed else "See above."


def on_pages(invocation: Invocation, name: str) -> AbstractContextManager[None]:
    """On a terminal a page at a time; what still comes on stdin, as it comes."""
    import os

    from megabot_cli.terminal.pager import paged

    if name == "-" or invocation.options.no_input:
        return nullcontext()
    return paged(invocation.console, os.environ)


def tell_unreadable(invocation: Invocation, unreadable: Sequence[Unreadable]) -> None:
    """Name the recordings that no list shows, for a loss is not to go unseen."""
    from megabot_cli.terminal.text import safe_line

    for each in unreadable[:_MOST_UNREADABLE]:
        invocation.console.warn(safe_line(f"{each.name} cannot be read: {each.why}"))
    if more := unreadable[_MOST_UNREADABLE:]:
        invocation.console.warn(f"{counted(len(more), 'more recording')} cannot be read either")


def at_once(invocation: Invocation, name: str) -> AbstractContextManager[None]:
    """Show what is there in large pieces; what still comes on stdin, as it comes."""
    return nullcontext() if name == "-" else invocation.console.in_bulk()


def open_source(
    invocation: Invocation, source: Path | str, *, at_once: bool = False
) -> RecordReader:
    """Open what was found; of a foreign file the operator's own secrets go as well."""
    from megabot_cli.storage.foreign import open_any

    return open_any(
        source,
        secrets=more_secrets(invocation),
        at_once=at_once,
        seen_indexing=indexing(invocation),
    )


def indexing(invocation: Invocation) -> Callable[[int, int], object]:
    """Shows how far the index of a long segment is, where it is made before it can be used."""
    from megabot_cli.terminal.progress import LateProgress

    return LateProgress(invocation.console, "indexing, MiB")


def find(invocation: Invocation, name: str) -> Path | str:
    """Where the recording is that an operator means; `-` is stdin."""
    from megabot_cli.storage.recordings_list import find_recording

    if name == "-":
        return "-"
    unreadable: list[Unreadable] = []
    found = find_recording(invocation.recordings_folder, name, unreadable)
    tell_unreadable(invocation, unreadable)
    return found


def unix_time(stamp: str) -> float:
    """An ISO time as Unix seconds; 0 for what is none."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0
