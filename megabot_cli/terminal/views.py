"""How results look as text: tables, and one line a record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from megabot_cli.recording.record import Record
from megabot_cli.terminal.console import Console, Style
from megabot_cli.terminal.text import display_width, fit, safe_line

_GAP = "  "
_ARROWS = {"to_upstream": "→", "to_client": "←"}
_HUES: tuple[Style, ...] = ("cyan", "green", "yellow", "blue", "magenta", "red")
_TYPE_WIDTH = len("connection_established")
_SESSION_TAIL = 8  # ids begin with the time: their end tells them apart

# The fields of a payload that say what a message is about, the first that is there.
_TELLING = ("content", "chunk", "message", "error", "status", "title", "tool_name", "action")


def print_table(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], *, flexible: int = -1
) -> None:
    """Write an aligned table. On a terminal the column `flexible` gives way to the width."""
    cells = [[safe_line(cell) for cell in row] for row in rows]
    widths = [
        max(display_width(row[column]) for row in [headings, *cells])
        for column in range(len(headings))
    ]
    if console.width is not None:
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - console.width
        if excess > 0:
            widths[flexible] = max(8, widths[flexible] - excess)
    console.line(console.paint(_row(headings, widths), "bold"))
    for row in cells:
        console.line(_row(row, widths))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = [fit(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return _GAP.join(
        cell + " " * (width - display_width(cell))
        for cell, width in zip(fitted, widths, strict=True)
    ).rstrip()


def print_facts(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    """Write `name  value` lines, aligned."""
    widest = max(len(name) for name, _ in facts)
    for name, value in facts:
        console.line(f"{console.paint(name.ljust(widest), 'dim')}  {safe_line(value)}")


def clock(at: float) -> str:
    """Local time of day with milliseconds; `at` is Unix seconds."""
    moment = datetime.fromtimestamp(at, tz=UTC).astimezone()
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"


def date_and_time(at: float) -> str:
    """Local date and time to the second; `at` is Unix seconds."""
    return f"{datetime.fromtimestamp(at, tz=UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """Bytes as people read them: `812 B`, `4.2 KiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def record_line(console: Console, record: Record, at: float, source: str | None = None) -> str:
    """One record on one line: where it was seen, time, direction, type, session, what it says."""
    prefix = record_prefix(console, record, at, source)
    text = safe_line(what_it_says(record))
    if console.width is not None:
        taken = _PREFIX_WIDTH + (display_width(source) + 3 if source else 0)
        text = fit(text, max(20, console.width - taken))
    return f"{prefix}{text}".rstrip()


_PREFIX_WIDTH = len("12:34:56.789") + 2 + 1 + 2 + _TYPE_WIDTH + 2 + _SESSION_TAIL + 2


def record_prefix(console: Console, record: Record, at: float, source: str | None = None) -> str:
    """The part before what it says, every column as wide as in the line above."""
    arrow = _ARROWS.get(record.direction or "", "·")
    kind = record.type or ("?" if record.kind == "message" else record.kind)
    name = fit(safe_line(kind), _TYPE_WIDTH).ljust(_TYPE_WIDTH)
    session = safe_line((record.session or "-")[-_SESSION_TAIL:])
    session = fit(session, _SESSION_TAIL).ljust(_SESSION_TAIL)
    seen = console.paint(f"[{safe_line(source)}]", hue(source)) + " " if source else ""
    return seen + _GAP.join(
        (
            console.paint(clock(at), "dim"),
            console.paint(arrow, "bold"),
            console.paint(name, hue(kind)),
            console.paint(session, hue(record.session or "")),
            "",
        )
    )


def hue(name: str) -> Style:
    """The same name has the same colour in every run."""
    return _HUES[crc32(name.encode("utf-8", "replace")) % len(_HUES)]


def what_it_says(record: Record) -> str:
    """The telling part of a message; for other kinds the reason or the note."""
    if record.kind not in ("message", "inject"):
        return _what_happened(record)
    if record.data is None:
        return f"binary, {size(record.size or 0)}"
    try:
        message = json.loads(record.data)
    except (ValueError, RecursionError):
        return record.data
    payload = message.get("payload", message) if isinstance(message, dict) else message
    if isinstance(payload, dict):
        for name in _TELLING:
            if isinstance(payload.get(name), str):
                return str(payload[name])
    return _compact(payload)


def _what_happened(record: Record) -> str:
    parts: list[str] = []
    if record.lost is not None:
        parts.append(f"{record.lost} lost")
    if record.code is not None:
        parts.append(str(record.code))
    parts += [each for each in (record.reason, record.note) if each]
    if record.by:
        parts.append(f"by {record.by}")
    parts += [each for each in (record.client, record.link) if each]
    return ", ".join(parts)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
