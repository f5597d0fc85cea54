"""`megabot recordings stats`: a recording in numbers and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings import RecordingName, find, indexing
from megabot_cli.commands.recordings_output import ONLY_ASKED
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.tree import ONE_RECORDING, examples, forms, takes_no_more
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection
    from megabot_cli.recording.statistics import Spread, Summary
    from megabot_cli.terminal.console import Console

_BAR_WIDTH = 40
_REDRAW_RECORDS = 10_000


@forms("text", "json")
@examples(
    ("megabot recordings stats last", "How much, how fast, how slow"),
    ("megabot rec stats last --client dash --from 14:00", "Of one client, since two"),
    ("megabot rec stats last --json | jq .total_ms.p95", "For a dashboard"),
)
@takes_no_more(ONE_RECORDING)
@selecting()
def stats(context: typer.Context, recording: RecordingName, wanted: Selection) -> None:
    """Count what is in a recording.

    How many messages of which types and sizes, how quickly answers came, where it was silent
    or has gaps. Times are from a request to the first and to the last message of its answer;
    an answer whose last chunk never came is broken off, and has none.
    """
    from megabot_cli.recording.statistics import Statistics
    from megabot_cli.storage.foreign import open_any
    from megabot_cli.storage.recording_reader import RecordingReader
    from megabot_cli.storage.with_answers import choose_with_answers
    from megabot_cli.terminal.progress import Progress

    invocation: Invocation = context.obj
    counted = Statistics(whole=wanted.everything)
    with (
        open_any(find(invocation, recording), seen_indexing=indexing(invocation)) as reader,
        Progress(invocation.console, "counting") as progress,
    ):
        for number, (record, _) in enumerate(choose_with_answers(reader, wanted), 1):
            counted.take(record)
            if number % _REDRAW_RECORDS == 0:
                progress.reach(number, "records")
        end = reader.end if isinstance(reader, RecordingReader) else None
        summary = counted.summary(end.t if end is not None else 0)
        name = (reader.header and reader.header.recording) or recording
        warnings = list(reader.warnings)
    if invocation.output == "json":
        found = {"recording": name, **summary.as_dict()}
        invocation.console.json(found, indent=invocation.indent)
    else:
        print_summary(invocation.console, name, summary, whole=wanted.everything)
    for warning in warnings:
        invocation.console.warn(warning)
    if summary.requests and not summary.to_client and not wanted.everything:
        invocation.console.note(ONLY_ASKED)


def print_summary(console: Console, name: str, found: Summary, *, whole: bool = False) -> None:
    """A `whole` recording, or a part of one, in numbers and pictures."""
    from megabot_cli.terminal.progress import format_duration
    from megabot_cli.terminal.text import safe_line
    from megabot_cli.terminal.views import print_facts, size

    console.line(console.paint(safe_line(name), "bold"))
    length, span = format_duration(found.duration_s), format_duration(found.span_s)
    facts = [("length", length)] if whole else []
    if not whole or span != length:
        facts.append(("span", f"{span}, from the first record to the last"))
    who = ", ".join(
        counted(count, noun)
        for count, noun in (
            (found.sessions, "session"),
            (found.clients, "client"),
            (found.links, "link"),
        )
    )
    if found.messages:
        volume = f"{size(found.bytes)}: {found.to_upstream} to upstream, {found.to_client}"
        facts += [
            ("messages", f"{found.messages}, {volume} to clients"),
            ("rate", f"{found.messages_per_s:.1f}/s, at most {found.peak_per_s:.1f}/s"),
            ("who", who),
            ("size", _spread(found.size_bytes, " B", digits=0)),
        ]
    else:
        facts.append(("messages", "none"))
    if found.longest_silence_s >= 1:
        silence = format_duration(found.longest_silence_s)
        facts.append(("silence", f"{silence} at most, from {found.longest_silence_at_s:.1f} s on"))
    if found.gaps:
        facts.append(("gaps", f"{found.gaps}, in which {found.lost} records were lost"))
    if found.redacted:
        facts.append(("redacted", f"{counted(found.redacted, 'message')}"))
    if found.close_codes:
        codes = ", ".join(f"{count} × {code}" for code, count in found.close_codes.items())
        facts.append(("closed", codes))
    print_facts(console, facts)
    _print_types(console, found)
    _print_timeline(console, found)
    _print_replies(console, found)


def _print_types(console: Console, found: Summary) -> None:
    from megabot_cli.terminal.pictures import bar
    from megabot_cli.terminal.views import print_table, size

    if not found.types:
        return
    console.line()
    most = found.types[0].messages
    arrows = {"to_upstream": "→", "to_client": "←"}
    rows = [
        (
            each.type,
            arrows.get(each.direction, "·"),
            str(each.messages),
            size(each.bytes),
            bar(each.messages, most, 20),
        )
        for each in found.types
    ]
    print_table(console, ("type", "", "messages", "size", ""), rows, flexible=0)


def _print_timeline(console: Console, found: Summary) -> None:
    from megabot_cli.terminal.pictures import sparkline
    from megabot_cli.terminal.progress import format_duration

    if len(found.timeline) < 2:
        return
    console.line()
    console.line(console.paint(f"messages over time, {format_duration(found.span_s)}", "bold"))
    console.line(console.paint(sparkline(found.timeline, min(console.width or 80, 120)), "cyan"))


def _print_replies(console: Console, found: Summary) -> None:
    from megabot_cli.terminal.pictures import bar
    from megabot_cli.terminal.views import print_facts, print_table

    if not found.requests:
        return
    console.line()
    broken_off, unanswered = sum(found.broken_off.values()), sum(found.unanswered.values())
    facts = [
        (
            "requests",
            f"{found.requests}: {found.answered} answered, {found.failed} of them refused, "
            f"{broken_off} broken off, {unanswered} not",
        ),
    ]
    if found.answered > found.untimed:
        facts += [
            ("first chunk", _spread(found.first_chunk_ms, " ms")),
            ("whole answer", _spread(found.total_ms, " ms")),
        ]
    if found.untimed:
        why = "the recording's time goes back there, so they are in none of these"
        facts.append(("not timed", f"{counted(found.untimed, 'answer')}: {why}"))
    print_facts(console, facts)
    most = max((count for _, count in found.latency_histogram), default=0)
    for bound, count in found.latency_histogram:
        label = f"≤ {bound:g} ms" if bound is not None else "longer"
        before = f"{label:>12}  {count:>7}  "
        room = max(1, (console.width or 80) - len(before))
        drawn = console.paint(bar(count, most, min(room, _BAR_WIDTH)), "green")
        console.line(f"{before}{drawn}".rstrip())
    if found.slowest:
        console.line()
        rows = [
            (f"n={each.n}", each.type, f"{each.at_s:.3f} s", _ms(each.first_ms), _ms(each.whole_ms))
            for each in found.slowest
        ]
        print_table(console, ("slowest", "type", "at", "first chunk", "whole"), rows, flexible=1)


def _spread(spread: Spread, unit: str, digits: int = 1) -> str:
    def shown(value: float) -> str:
        return f"{value:.{digits}f}{unit}"

    return (
        f"p50 {shown(spread.p50)}, p95 {shown(spread.p95)}, p99 {shown(spread.p99)}, "
        f"most {shown(spread.max)}"
    )


def _ms(value: float) -> str:
    return f"{value:.1f} ms"
