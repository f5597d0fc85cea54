"""Convert recordings to and from HAR and bare messages, and into transcripts and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings import indexing
from megabot_cli.commands.recordings_output import (
    Force,
    Source,
    harmless,
    more_secrets,
    source_place,
    tell_left_out,
    tell_made,
    tell_warnings,
    writing_to,
)
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import ONE_RECORDING, examples, forms, takes_no_more

if TYPE_CHECKING:
    from collections.abc import Callable

    from megabot_cli.commands.recordings_output import Write
    from megabot_cli.recording.selection import Selection
    from megabot_cli.storage.converting import Converted
    from megabot_cli.storage.record_reader import SourceReader

From = Literal["auto", "recording", "har", "jsonl"]
To = Literal["har", "jsonl", "markdown", "pytest", "recording"]
Expect = Literal["exact", "shape"]

_WHY = {
    "har": "a HAR file holds messages only",
    "jsonl": "a line is the text of a message",
    "pytest": "the relay refused them, or they call tools",
}


@dataclass(frozen=True)
class Making:
    """What is to be made."""

    to: To
    expect: Expect
    allow_tools: bool
    is_whole: bool


@forms("text", "json")
@examples(
    ("megabot rec convert last talk.har --to har", "For a browser's network panel"),
    ("megabot rec convert page.har page.jsonl --to recording", "What a browser exported"),
    ("megabot rec convert last talk.md --to markdown -s sess_1", "A transcript of one session"),
    ("megabot rec convert last test_talk.py --to pytest --limit 20", "A test of a slice"),
    ("megabot rec convert last --to jsonl | jq .payload", "The messages alone"),
)
@takes_no_more(ONE_RECORDING)
@selecting("begin", "until")
def convert(
    context: typer.Context,
    source: Source,
    wanted: Selection,
    to: Annotated[To, typer.Option("--to", help="What to make of it.")],
    destination: Annotated[
        str, typer.Argument(metavar="[DEST]", help="The file to make, or - for standard output.")
    ] = "-",
    from_form: Annotated[
        From, typer.Option("--from", help="What the source is; auto looks at how it begins.")
    ] = "auto",
    expect: Annotated[
        Expect, typer.Option("--expect", help="What the test made by --to pytest asks for.")
    ] = "shape",
    allow_tools: Annotated[
        bool, typer.Option("--allow-tools", help="The test sends tool calls as well.")
    ] = False,
    force: Force = False,
) -> None:
    """Turn a recording into something else, or into one.

    A HAR file is one that a browser exported, with its WebSocket messages; bare messages are
    one a line. Secrets in either are redacted on the way, as when recording. What is written
    can be chosen with the words of `recordings show`; `recordings cut` also cuts by time.
    """
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.terminal.progress import Progress

    invocation: Invocation = context.obj
    making = Making(to, expect, allow_tools, is_whole=wanted.everything)
    place = source_place(invocation, source)
    with (
        open_any(
            place,
            from_form,
            secrets=more_secrets(invocation),
            seen_indexing=indexing(invocation),
        ) as reader,
        writing_to(invocation, destination, force=force) as write,
        Progress(invocation.console, "converting") as progress,
    ):
        converted = _write(making, reader, wanted, write, progress.advance)
    tell_warnings(invocation, reader)
    left_out = converted.left_out.total()
    tell_made(invocation, destination, records=converted.written, left_out=left_out)
    tell_left_out(invocation, converted.left_out, _WHY.get(to, "they are no part of it"))


def _write(
    making: Making,
    reader: SourceReader,
    wanted: Selection,
    write: Write,
    seen: Callable[[int], object],
) -> Converted:
    from megabot_cli.storage import converting
    from megabot_cli.storage.choosing import choose
    from megabot_cli.storage.losses import with_losses
    from megabot_cli.storage.with_answers import choose_with_answers

    choosing = choose_with_answers if making.to in ("markdown", "pytest") else choose
    lines = converting.watched(choosing(reader, wanted), seen)
    if making.to == "har":
        return converting.write_har(reader, lines, write)
    if making.to == "jsonl":
        return converting.write_bare(lines, write)
    if making.to == "markdown":
        return converting.write_transcript(reader, lines, harmless(write))
    if making.to == "pytest":
        return converting.write_pytest(
            reader, lines, write, making.expect, allow_tools=making.allow_tools
        )
    if making.is_whole:
        return converting.write_whole(reader, write, seen)
    part = converting.watched(with_losses(reader, wanted), seen)
    return converting.write_part(reader, part, write, "convert", wanted)
