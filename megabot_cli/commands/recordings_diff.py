"""`megabot recordings diff`: how two recordings differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings import find, indexing
from megabot_cli.commands.recordings_output import more_secrets
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.serving_recording import IgnoreOption
from megabot_cli.commands.tree import examples, forms, takes_no_more
from megabot_cli.errors import ExpectationFailed, NotFound, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection
    from megabot_cli.replay.diffing import Difference, RecordingDiff
    from megabot_cli.terminal.console import Console

_SIGNS = {"same_shape": "≈", "different": "≠", "missing": "<", "extra": ">"}


@forms("text", "json")
@examples(
    ("megabot recordings diff rec_1m8 last", "What came to the same requests, then and now"),
    ("megabot rec diff old.jsonl new.jsonl --ignore payload.options.seed --json", "For a program"),
)
@takes_no_more("It takes two: `megabot recordings diff rec_1m8 last`")
@selecting("around", "limit", "direction")
def diff(
    context: typer.Context,
    first: Annotated[
        str, typer.Argument(metavar="FIRST", help="An id or its beginning, last, a path, or -.")
    ],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="The same, of the other one.")],
    wanted: Selection,
    ignore: IgnoreOption = None,
    most: Annotated[
        int, typer.Option("--most", metavar="N", min=0, help="Show the first N differences.")
    ] = 20,
) -> None:
    """Say how two recordings differ.

    Requests that say the same, ids and times aside, are set side by side, and what came to
    them is compared: texts put together from their chunks, tool calls, order, ends. The
    words that choose are asked of both, and so are those that one was cut by. Ends with 13 when
    anything differs.
    """
    import os

    from megabot_cli.recording.likeness import Likeness
    from megabot_cli.recording.redaction import Redactor
    from megabot_cli.replay.compare import Comparer
    from megabot_cli.replay.diffing import diff as compare
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.parts import only, what_chose, words_that_chose
    from megabot_cli.storage.with_answers import choose_with_answers

    invocation: Invocation = context.obj
    if first == second == "-":
        raise WrongUsage("Standard input can be read once only.", "Name a file for the other.")
    likeness = Likeness("payload", tuple(ignore or ()))
    comparer = Comparer(Redactor(os.urandom(32)), ignore or ())
    secrets, seen = more_secrets(invocation), indexing(invocation)
    with (
        open_any(find(invocation, first), secrets=secrets, seen_indexing=seen) as left,
        open_any(find(invocation, second), secrets=secrets, seen_indexing=seen) as right,
    ):
        chose = what_chose(left, right), what_chose(right, left)
        found = compare(
            only(choose_with_answers(left, wanted), left, chose[1] or ()),
            only(choose_with_answers(right, wanted), right, chose[0] or ()),
            comparer,
            likeness,
        )
        parts = words_that_chose(left), words_that_chose(right)
        for warning in (*left.warnings, *right.warnings):
            invocation.console.warn(warning)
    if parts[0] != parts[1]:
        for name, words, asked in zip((first, second), parts, chose, strict=True):
            _tell_part(invocation.console, name, words, asked=asked is not None)
    if not found.requests:  # nothing that differs would pass for two that are the same
        nothing = "There is no request to compare in"
        if wanted.everything:
            how_many = "`megabot recordings stats` counts what there is."
            raise NotFound(f"{nothing} the two recordings", how_many)
        raise NotFound(f"{nothing} what was chosen of the two recordings", "Choose less narrowly.")
    if invocation.output == "json":
        invocation.console.json(found.as_dict(), indent=invocation.indent)
    else:
        _print(invocation.console, found, most)
    if not found.answered:
        invocation.console.note("neither side has an answer: the requests alone were compared")
    if found.differences:
        raise ExpectationFailed(
            f"The recordings differ in {len(found.differences)} of {found.requests} requests",
            "--ignore PATH leaves out what may differ.",
        )


def _tell_part(console: Console, name: str, words: str, *, asked: bool) -> None:
    """Say of one that was cut from another what that means for the other one."""
    from megabot_cli.terminal.text import safe_line

    if words:
        means = (
            "only that of the other is compared" if asked else "what it left out counts as missing"
        )
        console.note(safe_line(f"{name} was cut by {words}: {means}"))


def _print(console: Console, found: RecordingDiff, most: int) -> None:
    from megabot_cli.terminal.views import print_facts

    facts = [
        ("requests", str(found.requests)),
        ("same", str(found.same)),
        ("same shape", f"{found.same_shape} (other words, the same form)"),
        ("different", str(found.different)),
        ("only first", str(found.missing)),
        ("only second", str(found.extra)),
        (
            "whole answer",
            f"p50 {found.left_p50_ms:.1f} → {found.right_p50_ms:.1f} ms, "
            f"p95 {found.left_p95_ms:.1f} → {found.right_p95_ms:.1f} ms",
        ),
    ]
    print_facts(console, facts)
    for difference in found.differences[:most]:
        _print_difference(console, difference)
    if len(found.differences) > most:
        console.line(f"… and {len(found.differences) - most} more (--most N, --json)")


def _print_difference(console: Console, difference: Difference) -> None:
    from megabot_cli.terminal.text import fit, safe_line

    sign = _SIGNS[difference.verdict.value]
    places = [f"n={n}" if n is not None else "–" for n in (difference.left_n, difference.right_n)]
    lines = [
        f"{sign} {' / '.join(places)}  {difference.request}",
        f"    {difference.detail}" if difference.detail else "",
        f"  - {difference.left}" if difference.left else "",
        f"  + {difference.right}" if difference.right else "",
    ]
    console.line()
    for line in filter(None, lines):
        shown = safe_line(line)
        if console.width is not None:
            shown = fit(shown, console.width)
        if shown.startswith("  -"):
            shown = console.paint(shown, "red")
        elif shown.startswith("  +"):
            shown = console.paint(shown, "green")
        console.line(shown)
