"""How results look as text: tables, and one line a record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zlib import crc32

import msgspec

from megabot_cli.recording.record import Record
from megabot_cli.terminal.console import Console, Style, painted
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
    milliseconds = int(at * 1000 + 1e-3)  # 0.123 is a little less than that as a float
    second, rest = divmod(milliseconds, 1000)
    return f"{_second(second)}.{rest:03}"


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, tz=UTC).astimezone():%H:%M:%S}"


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
    kind = record.type or ("?" if record.kind == "message" else record.kind)
    columns = _columns(console.color, record.direction or "", kind, record.session or "")
    seen = console.paint(f"[{safe_line(source)}]", hue(source)) + " " if source else ""
    return f"{seen}{console.paint(clock(at), 'dim')}{_GAP}{columns}"


@lru_cache(maxsize=4096)
def _columns(color: bool, direction: str, kind: str, session: str) -> str:
    """Direction, type and session: few of each pass, many times."""
    arrow = _ARROWS.get(direction, "·")
    name = fit(safe_line(kind), _TYPE_WIDTH).ljust(_TYPE_WIDTH)
    tail = fit(safe_line((session or "-")[-_SESSION_TAIL:]), _SESSION_TAIL).ljust(_SESSION_TAIL)
    if color:
        arrow, name, tail = (
            painted(arrow, "bold"), painted(name, hue(kind)), painted(tail, hue(session)),
        )  # fmt: skip
    return _GAP.join((arrow, name, tail, ""))


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
        telling = _telling_decoder.decode(record.data).payload
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _what_else_it_says(record.data)
    if telling is not None:
        for text in msgspec.structs.astuple(telling):
            if type(text) is str:
                return text
    return _what_else_it_says(record.data)


class _Telling(msgspec.Struct, gc=False):
    """`_TELLING`, in that order."""

    content: Any = None
    chunk: Any = None
    message: Any = None
    error: Any = None
    status: Any = None
    title: Any = None
    tool_name: Any = None
    action: Any = None


class _Saying(msgspec.Struct, gc=False):
    payload: _Telling | None = None


_telling_decoder = msgspec.json.Decoder(_Saying)


def _what_else_it_says(data: str) -> str:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return data
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
