"""How results look as text: tables, and one line a record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import msgspec

from megabot_cli.recording.record import Record
from megabot_cli.terminal.console import Console, Style
from megabot_cli.terminal.text import display_width, fit, safe_line, wrap

_GAP = "  "
_ARROWS = {"to_upstream": "→", "to_client": "←"}
_ARROWS_OF_THE_RELAY = {"to_upstream": "⇢", "to_client": "⇠"}  # it said that itself
_HUES: tuple[Style, ...] = ("cyan", "green", "yellow", "blue", "magenta", "red")
_TYPE_WIDTH = len("connection_established")
_SESSION_TAIL = 8  # ids begin with the time: their end tells them apart
_SOURCE_TAIL = 9
_SOME_TEXT, _LEAST_TEXT = 30, 8  # columns for what a message says
_LEAST_COLUMN = 12  # columns for the cell that gives way
_LEAST_VALUE = 16  # columns for a fact that is broken into lines; with less it is left alone

# The fields of a payload that say what a message is about, the first that is there.
_TELLING = (
    "content",
    "chunk",
    "message",
    "error",
    "status",
    "title",
    "tool_name",
    "action",
    "output",
)


def print_table(
    console: Console,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    flexible: int = -1,
    least: int = 0,
) -> None:
    """Write an aligned table.

    On a terminal the column `flexible` gives way to the width, down to `least` columns of the
    screen; where that is not enough the last columns are left out, and named on stderr.
    """
    cells = [[safe_line(cell) for cell in row] for row in rows]
    widths = [
        max(display_width(row[column]) for row in [headings, *cells])
        for column in range(len(headings))
    ]
    shown = len(widths)
    if console.width is not None:
        flexible %= shown
        whole = widths[flexible]
        least = min(whole, max(least, _LEAST_COLUMN))
        while (excess := _across(widths[:shown]) - console.width) > 0:
            if flexible < shown:
                widths[flexible] = max(least, widths[flexible] - excess)
            if shown == 1 or _across(widths[:shown]) <= console.width:
                break
            shown -= 1
        if flexible < shown:  # what was left out has made room again
            room = console.width - _across(widths[:shown])
            widths[flexible] = min(whole, widths[flexible] + max(0, room))
    console.line(console.paint(_row(headings[:shown], widths[:shown], console.width), "bold"))
    for row in cells:
        console.line(_row(row[:shown], widths[:shown], console.width))
    if left_out := [name for name in headings[shown:] if name]:
        console.note(f"not shown for want of room: {', '.join(left_out)}; --json has all")


def _across(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _row(cells: Sequence[str], widths: Sequence[int], most: int | None) -> str:
    """The cells side by side, in at most so many columns."""
    fitted = [fit(cell, width) for cell, width in zip(cells, widths, strict=True)]
    row = _GAP.join(
        cell + " " * (width - display_width(cell))
        for cell, width in zip(fitted, widths, strict=True)
    ).rstrip()
    return row if most is None else fit(row, most)


def print_facts(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    """Write `name  value` lines, aligned; on a terminal a long value goes on below itself."""
    widest = max(len(name) for name, _ in facts)
    indent = widest + len(_GAP)
    for name, value in facts:
        shown = safe_line(value)
        if console.width is not None and console.width - indent >= _LEAST_VALUE:
            shown = wrap(shown, console.width - indent).replace("\n", "\n" + " " * indent)
        console.line(f"{console.paint(name.ljust(widest), 'dim')}{_GAP}{shown}")


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


_PREFIX_WIDTH = len("12:34:56.789") + 2 + 1 + 2 + _TYPE_WIDTH + 2 + _SESSION_TAIL + 2
# A terminal with less room than that for the text does without the session.
_NARROW = _PREFIX_WIDTH + 15
_NARROW_TYPE_WIDTH = 12
_NARROW_PREFIX_WIDTH = len("12:34:56.789") + 2 + 1 + 2 + _NARROW_TYPE_WIDTH + 2
_THREE_DIGITS = [f"{number:03}" for number in range(1000)]  # looked up in a third of the time
_MOST_COLUMNS = 10_000  # kept: sessions without end may pass


class RecordLines:
    """Records as lines: where seen, time, direction, type, session, what it says.

    What comes again and again is put together once: the second, and the columns.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._second = -1
        self._clock = ""
        self._after_clock = ""
        self._columns: dict[tuple[str | None, ...], str] = {}
        self._is_narrow = False

    def line(self, record: Record, at: float, source: str | None = None) -> str:
        """One record on one line, at most as wide as the terminal."""
        text = what_it_says(record)
        if _may_steer(record) and not text.isprintable():
            text = safe_line(text)
        width = self._console.width
        if width is not None:
            taken = _NARROW_PREFIX_WIDTH if width < _NARROW else _PREFIX_WIDTH
            taken += display_width(self._named(source)) + 3 if source else 0
            text = fit(text, max(_LEAST_TEXT, width - taken))
        return (self.prefix(record, at, source) + text).rstrip()

    def prefix(self, record: Record, at: float, source: str | None = None) -> str:
        """The part before what it says, every column as wide as in the line above."""
        width = self._console.width
        if width is not None and (width < _NARROW) is not self._is_narrow:
            self._is_narrow = not self._is_narrow  # it was resized
            self._columns.clear()
        columns = self._columns.get((record.direction, record.type, record.session, record.kind))
        if columns is None:
            columns = self._put_together(record)
        milliseconds = int(at * 1000 + 1e-3)  # 0.123 is a little less than that as a float
        second = milliseconds // 1000
        if second != self._second:
            self._begin_second(second)
        rest = milliseconds - second * 1000
        prefix = f"{self._clock}{_THREE_DIGITS[rest]}{self._after_clock}{columns}"
        if source is None:
            return prefix
        seen = self._console.paint(f"[{self._named(source)}]", hue(source))
        return f"{seen} {prefix}"

    def _named(self, source: str) -> str:
        """What a source is called. Where there is little room for its name it gives way to what
        was said, and keeps its end: the beginnings of ids are alike."""
        name = safe_line(source)
        if self._console.width is None:
            return name
        room = max(_SOURCE_TAIL, self._console.width - _PREFIX_WIDTH - _SOME_TEXT)
        return name if len(name) <= room else f"…{name[1 - room :]}"

    def _begin_second(self, second: int) -> None:
        moment = datetime.fromtimestamp(second, tz=UTC).astimezone()
        # The colour is around the clock, whose last digits are still to come.
        before, after = self._console.paint("\0", "dim").split("\0")
        self._second = second
        self._clock, self._after_clock = f"{before}{moment:%H:%M:%S}.", f"{after}{_GAP}"

    def _put_together(self, record: Record) -> str:
        paint, session = self._console.paint, record.session or ""
        kind = record.type or ("?" if record.kind == "message" else record.kind)
        type_width = _NARROW_TYPE_WIDTH if self._is_narrow else _TYPE_WIDTH
        name = fit(safe_line(kind), type_width).ljust(type_width)
        tail = fit(safe_line((session or "-")[-_SESSION_TAIL:]), _SESSION_TAIL)
        arrows = _ARROWS_OF_THE_RELAY if record.kind == "inject" else _ARROWS
        columns = (
            paint(arrows.get(record.direction or "", "·"), "bold"),
            paint(name, hue(kind)),
            *(() if self._is_narrow else (paint(tail.ljust(_SESSION_TAIL), hue(session)),)),
            "",
        )
        if len(self._columns) >= _MOST_COLUMNS:
            self._columns.clear()
        key = (record.direction, record.type, record.session, record.kind)
        made = self._columns[key] = _GAP.join(columns)
        return made


def hue(name: str) -> Style:
    """The same name has the same colour in every run."""
    return _HUES[crc32(name.encode("utf-8", "replace")) % len(_HUES)]


def _may_steer(record: Record) -> bool:
    """Whether what a message says may hold more than printable characters.

    JSON has control characters as escapes only, so of plain ASCII without any this tells, in a
    tenth of the time of looking at every character.
    """
    data = record.data
    return (
        data is None
        or "\\" in data
        or "\x7f" in data
        or not data.isascii()
        or record.kind != "message"
    )


def what_it_says(record: Record) -> str:
    """The telling part of a message, after its code; for other kinds the reason or the note.

    What is no JSON is made safe; texts out of JSON are as they were sent.
    """
    if record.kind not in ("message", "inject"):
        return _what_happened(record)
    if record.data is None:
        is_binary = record.data_b64 is not None or record.opcode == "binary"
        return f"{'binary' if is_binary else 'left out'}, {size(record.size or 0)}"
    try:
        telling = _telling_decoder.decode(record.data).payload
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _what_else_it_says(record.data)
    if telling is not None:
        if type(telling.content) is str and telling.code is None:
            return telling.content  # most are this
        if type(telling.output) is str and type(telling.status) is str:
            return f"{telling.status}: {telling.output}"  # what became of a tool call, and why
        code, *texts = msgspec.structs.astuple(telling)
        for text in texts:
            if type(text) is str:
                return f"{code} {text}" if type(code) is int else text
    return _what_else_it_says(record.data)


class _Telling(msgspec.Struct, gc=False):
    """The number of an error, and `_TELLING` in that order."""

    code: Any = None
    content: Any = None
    chunk: Any = None
    message: Any = None
    error: Any = None
    status: Any = None
    title: Any = None
    tool_name: Any = None
    action: Any = None
    output: Any = None


class _Saying(msgspec.Struct, gc=False):
    payload: _Telling | None = None


_telling_decoder = msgspec.json.Decoder(_Saying)


def _what_else_it_says(data: str) -> str:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return safe_line(data)
    payload = message.get("payload", message) if isinstance(message, dict) else message
    if isinstance(payload, dict):
        for name in _TELLING:
            if isinstance(text := payload.get(name), str):
                code = payload.get("code")
                return f"{code} {text}" if type(code) is int else text
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
