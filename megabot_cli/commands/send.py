"""`megabot send`: one message, or many, and what is answered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.layout_words import FieldsWord, TemplateWord, layout
from megabot_cli.commands.rows import LIST_FORMS
from megabot_cli.commands.selection_words import MESSAGE_TYPES, warn_of_misspelt
from megabot_cli.commands.sending import (
    RESULT_NAMES,
    Draft,
    SendOptions,
    Wait,
    converse,
    preview,
    said_quickly,
)
from megabot_cli.commands.session_words import SessionWord
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import (
    MostlyOneOf,
    ToolPrograms,
    duration,
    json_object,
    none_of,
    pairs,
    programs,
)
from megabot_cli.errors import BadData, WrongUsage

_WAIT = re.compile(r"reply|none|type:(?P<type>\S+)")


@forms(*LIST_FORMS, "raw")
@examples(
    ('megabot send "What is a relay?"', "The answer streams to stdout"),
    ("git diff | megabot send -", "What comes on stdin"),
    ("megabot send --jsonl - < questions.txt > answers.jsonl", "Many messages, one a line"),
    ("megabot send hi --fields time,type,payload.content", "What came, and when"),
    (
        'megabot send --type session_join --payload \'{"session_id":"ws_1"}\' --no-wait',
        "Any type of message",
    ),
    (
        "megabot send 'How full is the disk?' --tool df='df -h /'",
        "MegaBot may have this program run, and no other",
    ),
)
def send(
    context: typer.Context,
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT|-]", help="What to say; - reads stdin.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Say what stands in a file; with --jsonl each line.",
        ),
    ] = None,
    message_type: Annotated[
        str,
        typer.Option(
            "-t",
            "--type",
            metavar="TYPE",
            parser=MostlyOneOf(*MESSAGE_TYPES),
            help="The type of message.",
        ),
    ] = "chat_send",
    payload: Annotated[
        str | None,
        typer.Option("-d", "--payload", metavar="JSON", help="The payload, or more of it."),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="K=V", help="Metadata to send along.")
    ] = None,
    session: SessionWord = None,
    or_new: Annotated[
        bool, typer.Option("--or-new", help="Where that session is gone, begin a new one.")
    ] = False,
    wait: Annotated[
        str,
        typer.Option(
            "--wait",
            metavar="WHAT",
            parser=MostlyOneOf("reply", "none", *(f"type:{each}" for each in MESSAGE_TYPES)),
            help="Wait for: reply, none, or type:TYPE.",
        ),
    ] = "reply",
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="CEL", help="Wait for a message of which this holds."),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Wait for nothing; short for --wait none.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            parser=duration,
            metavar="DURATION",
            help="Give up after this (3); else never.",
        ),
    ] = None,
    idle_timeout: Annotated[
        float | None,
        typer.Option(
            "--idle-timeout",
            parser=duration,
            metavar="DURATION",
            help="Give up when nothing at all comes for so long (3).",
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--count", metavar="N", min=1, help="How many to wait for of --until or type."
        ),
    ] = 1,
    attach: Annotated[
        list[Path] | None,
        typer.Option("--attach", metavar="FILE", help="Send this file along."),
    ] = None,
    tool: ToolPrograms = None,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Show an answer when it is whole.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="DIR", help="Keep what passes as a recording in here."),
    ] = None,
    fields: FieldsWord = None,
    template: TemplateWord = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact message and send nothing.")
    ] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Go around the relay, if one runs.")
    ] = False,
) -> None:
    """Send a message and print the answer.

    Only the answer goes to stdout, as it comes. With --json the envelopes do, exactly as
    they came; --fields and --template show something of each, -o table a line. With --jsonl
    every line of stdin (-) or of --file is a message, an envelope or bare text, and every
    line of the result belongs to one of them: also where the connection breaks (the next ones
    are sent once it is there again) or --timeout, which is for all together, is over. A
    --session that is gone ends with 9 before anything is sent.
    """
    from megabot_cli.commands.asked_session import whole_session
    from megabot_cli.commands.running import run

    invocation: Invocation = context.obj
    warn_of_misspelt(invocation, (message_type,))
    if text is not None and file is not None:
        raise WrongUsage("TEXT and --file exclude each other", "Give one of them.")
    many = invocation.output == "jsonl" and (text == "-" or file is not None)
    wanted = _wait("none" if no_wait else wait, until, count)
    warn_of_misspelt(invocation, (wanted.type,), "--wait type:")
    if no_wait and (until is not None or wait != "reply"):
        raise WrongUsage("--no-wait waits for nothing", "Leave --wait and --until out.")
    results = RESULT_NAMES if many else None
    laid_out = layout(fields, template, invocation.output, results)
    if laid_out is not None and dry_run:
        raise WrongUsage("--dry-run prints the exact message", "Leave --fields or --template out.")
    most = invocation.configuration.settings.limits.max_message_bytes
    base = Draft(
        message_type,
        {
            **(json_object(payload, "--payload") if payload is not None else {}),
            **({"attachments": [attached(each, most) for each in attach]} if attach else {}),
        },
        pairs(metadata or (), "--metadata"),
    )
    options = SendOptions(
        draft=None if many else _draft(base, _words(text, file), needs_words=payload is None),
        base=base,
        wait=wanted,
        timeout_s=timeout,
        stream=not no_stream,
        session=whole_session(invocation, session, direct=direct),
        direct=direct,
        or_new=or_new,
        idle_s=idle_timeout,
        tools=programs(tool or (), "--tool"),
        record=record,
        lines_in=file if many else None,
        layout=laid_out,
    )
    if dry_run:
        preview(invocation, options)
    elif not said_quickly(invocation, options):
        run(converse(invocation, options))


def _words(text: str | None, file: Path | None) -> str | None:
    """What is to be said; stdin is read only where `-` asks for it."""
    from megabot_cli.terminal.stdin import read_text

    if file is not None:
        return _read(file)
    return read_text() if text == "-" else text


def _read(file: Path) -> str:
    from megabot_cli.commands.given_files import read_text_of

    return read_text_of(file).removesuffix("\n")


def _draft(base: Draft, words: str | None, *, needs_words: bool) -> Draft:
    """Put the words into the payload, where the type has a place for them."""
    if words is not None and base.type != "chat_send":
        from megabot_cli.config.spelling import did_you_mean

        if base.type not in MESSAGE_TYPES and (meant := did_you_mean(base.type, MESSAGE_TYPES)):
            raise WrongUsage(f"TEXT is for chat_send; the type {base.type!r} is unknown", meant)
        raise WrongUsage(f"TEXT is for chat_send, not {base.type}", "Give its --payload instead.")
    if words == "" and needs_words:
        raise WrongUsage("There is nothing to send: the text is empty", "Look at what fills it.")
    if words is None and needs_words:
        raise WrongUsage("There is nothing to send", "Give TEXT, - for stdin, --file or --payload.")
    if words is not None and "content" in base.payload:
        raise WrongUsage(
            "TEXT and the content of --payload are two texts for one message", "Give one of them."
        )
    content = {} if words is None else {"content": words}
    return Draft(base.type, {**content, **base.payload}, base.metadata)


def attached(file: Path, most_bytes: int) -> dict[str, Any]:
    """A file as it goes into `attachments`: its name, kind and size, and what is in it.

    The specification leaves the form open; names and base64 are what the others use too.
    """
    import base64
    from mimetypes import guess_type

    try:
        size = file.stat().st_size
        if most_bytes and size * 4 > most_bytes * 3:  # base64 has four characters for three
            raise BadData(
                f"{file} is too large to send along: {size} bytes",
                f"A message may have {most_bytes}; a file takes a third more than its size.",
            )
        content = file.read_bytes()
    except OSError as fault:
        from megabot_cli.commands.given_files import unreadable

        raise unreadable(file, fault) from None
    kind, _ = guess_type(file.name)
    return {
        "name": file.name,
        "media_type": kind or "application/octet-stream",
        "size": len(content),
        "data": base64.b64encode(content).decode(),
    }


def _wait(text: str, until: str | None, count: int) -> Wait:
    if until is not None:
        if text != "reply":
            raise WrongUsage("--until and --wait exclude each other", "Give one of them.")
        from megabot_cli.commands.selection_words import condition

        condition(until, "--until")  # a wrong one is told before anything is sent
        return Wait("condition", "", count, until)
    match = _WAIT.fullmatch(text)
    if match is None:
        raise none_of("--wait", text, ("reply", "none", "type:TYPE"))
    if match["type"]:
        return Wait("type", match["type"], count)
    if count > 1:
        raise WrongUsage(
            "--count goes with --wait type:TYPE or --until", "A message has one reply."
        )
    return Wait("reply" if text == "reply" else "none", "", count)
