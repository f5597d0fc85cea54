"""Two texts beside each other, with what differs marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from megabot_cli.terminal.console import Console, Style
from megabot_cli.terminal.text import display_width, safe_line

_WORD = re.compile(r"\s+|[^\s\w]|\w+")
_BETWEEN = " │ "
_NARROWEST = 12
_STYLES: tuple[Style, Style] = ("red", "green")
_Marked = list[tuple[str, bool]]


def side_by_side(
    console: Console, left: str, right: str, titles: tuple[str, str], width: int
) -> Iterator[str]:
    """Lines of at most `width` columns: `left`, a rule, `right`, under their titles."""
    room = max(_NARROWEST, (width - len(_BETWEEN)) // 2)
    first, second = _marked(safe_line(left), safe_line(right))
    columns = [list(_wrapped(first, room)), list(_wrapped(second, room))]
    rule = console.paint(_BETWEEN, "dim")
    yield rule.join(console.paint(title.ljust(room), "dim") for title in titles).rstrip()
    for number in range(max(map(len, columns))):
        cells = [
            _painted(console, column[number] if number < len(column) else [], room, style)
            for column, style in zip(columns, _STYLES, strict=True)
        ]
        yield rule.join(cells).rstrip()


def _marked(left: str, right: str) -> tuple[_Marked, _Marked]:
    """Both texts as pieces, each with whether the other has it not."""
    old, new = _WORD.findall(left), _WORD.findall(right)
    first: _Marked = []
    second: _Marked = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        first += [(word, tag != "equal") for word in old[a:b]]
        second += [(word, tag != "equal") for word in new[c:d]]
    return first, second


def _wrapped(pieces: _Marked, room: int) -> Iterator[_Marked]:
    """Rows of at most `room` columns; a longer word is cut."""
    row: _Marked = []
    used = 0
    for word, differs in pieces:
        for part in _cut(word, room):
            size = display_width(part)
            if used + size > room:
                yield row
                row, used = [], 0
                if part.isspace():
                    continue
            row.append((part, differs))
            used += size
    if row:
        yield row


def _cut(word: str, room: int) -> Iterator[str]:
    part, used = "", 0
    for character in word:
        size = display_width(character)
        if used + size > room:
            yield part
            part, used = "", 0
        part += character
        used += size
    yield part


def _painted(console: Console, row: _Marked, room: int, style: Style) -> str:
    shown = "".join(console.paint(word, style) if differs else word for word, differs in row)
    return shown + " " * (room - sum(display_width(word) for word, _ in row))
