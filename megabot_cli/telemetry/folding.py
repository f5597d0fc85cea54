"""Log lines that are wider than their terminal, folded where one reads on with ease."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

Render = Callable[[Any, str, MutableMapping[str, Any]], Any]

INDENT: Final = "    "
_HEAD = ("timestamp", "level", "event")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Folded:
    """A renderer of log lines whose fields stay whole where they fit into a line of `out`;
    a longer one is folded between words. What follows the first line is indented."""

    def __init__(self, render: Render, out: TextIO) -> None:
        self._render = render
        self._out = out

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        trace = event.pop("exception", None)
        head = {key: event[key] for key in _HEAD if key in event}
        parts = [head, *({key: event[key]} for key in sorted(event) if key not in head)]
        pieces = [str(self._render(logger, method, part)) for part in parts]
        text = fold(pieces, self._columns())
        return text if trace is None else f"{text}\n{trace}"

    def _columns(self) -> int:
        """Asked for each line: windows change their size. Where nobody knows it, no end."""
        try:
            return os.get_terminal_size(self._out.fileno()).columns or 1 << 20
        except (OSError, ValueError):
            return 1 << 20


def fold(pieces: list[str], columns: int) -> str:
    """The pieces with blanks between them, in lines of at most `columns`; colours take no room.

    Only a word that is wider than a line makes one wider.
    """
    lines = [""]
    for piece in pieces:
        whole = _width(piece) <= columns - len(INDENT)
        for part in [piece] if whole else piece.split(" "):
            room = columns - _width(lines[-1]) - 1
            if not lines[-1].strip():
                lines[-1] += part
            elif _width(part) <= room:
                lines[-1] += f" {part}"
            else:
                lines.append(INDENT + part)
    return "\n".join(lines)


def _width(text: str) -> int:
    return len(_COLOUR.sub("", text))
