"""What is shown of a record or a row, as an operator says it: `--fields id,payload.code`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.conditions import RECORD_WORDS, Message
from megabot_cli.recording.plain_answers import MISSING, Said, at_path
from megabot_cli.recording.record import Record

_OF_THE_VIEW: Final = ("time", "source")
_PIECE = re.compile(r"\{\{|\}\}|\{(?P<path>[^{}]*)\}|[{}]|[^{}]+")
_PATH = re.compile(r"[a-z_]+(?:\.[^.\s]+)*\Z")
_ESCAPES: Final = {"\\t": "\t", "\\n": "\n", "\\\\": "\\"}

Path = tuple[str, ...]
Clean = Callable[[str], str]
ValueOf = Callable[[Path], Any]
Row = Mapping[str, Any]
_Parse = Callable[[str, str], Path]


class Layout:
    """Fields, or a text with fields in braces. A field that is not there is empty."""

    def __init__(self, pieces: Sequence[str | Path]) -> None:
        self._pieces = tuple(pieces)
        self._said = Message().of

    @property
    def _paths(self) -> list[Path]:
        return [piece for piece in self._pieces if not isinstance(piece, str)]

    def facts(self, record: Record, at: float, source: str | None) -> dict[str, Any]:
        """The fields as values, by their names; None for what is not there.

        `time` is local, with its offset from UTC; `source` is where the record was seen.
        """
        return self._facts(_record_values(record, self._said, at, source))

    def line(self, record: Record, at: float, source: str | None, clean: Clean) -> str:
        """The text; `clean` makes what others wrote fit for where it is shown."""
        return self._line(_record_values(record, self._said, at, source), clean)

    def row_facts(self, row: Row) -> dict[str, Any]:
        """As `facts`, of a row in a list."""
        return self._facts(_row_values(row))

    def row_line(self, row: Row, clean: Clean) -> str:
        """As `line`, of a row in a list."""
        return self._line(_row_values(row), clean)

    def _facts(self, value_of: ValueOf) -> dict[str, Any]:
        return {".".join(path): value_of(path) for path in self._paths}

    def _line(self, value_of: ValueOf, clean: Clean) -> str:
        return "".join(
            piece if isinstance(piece, str) else clean(_text(value_of(piece)))
            for piece in self._pieces
        )


def parse_fields(text: str, names: Sequence[str] | None = None) -> Layout:
    """`a,b.c`: the fields with tabs between them.

    WrongUsage for one that no record has, or where there are `names`, none of these.
    """
    parse = _path if names is None else _path_in(names)
    pieces: list[str | Path] = []
    for name in text.split(","):
        pieces += ["\t"] * bool(pieces) + [parse(name.strip(), "--fields")]
    return Layout(pieces)


def parse_template(text: str, names: Sequence[str] | None = None) -> Layout:
    """`{type}: {payload.content}`; `{{` is a brace, `\\t` a tab. WrongUsage for a wrong one."""
    parse = _path if names is None else _path_in(names)
    pieces: list[str | Path] = []
    for match in _PIECE.finditer(text):
        if match[0] in ("{{", "}}"):
            pieces.append(match[0][0])
        elif match["path"] is not None:
            pieces.append(parse(match["path"].strip(), "--template"))
        elif match[0] in "{}":
            raise WrongUsage(
                f"--template: the brace at column {match.start() + 1} stands alone",
                "Write {{ or }} for a brace itself.",
            )
        else:
            pieces.append(re.sub(r"\\[tn\\]", lambda found: _ESCAPES[found[0]], match[0]))
    return Layout(pieces)


def _path(name: str, flag: str) -> Path:
    first = name.partition(".")[0]
    known = (*RECORD_WORDS.fields, *_OF_THE_VIEW)
    is_open = first in RECORD_WORDS.open_fields
    if first not in known or not _PATH.match(name) or ("." in name and not is_open):
        raise _no_field(name, flag, known)
    return tuple(name.split("."))


def _path_in(known: Sequence[str]) -> _Parse:
    def parse(name: str, flag: str) -> Path:
        if not _PATH.match(name) or name.partition(".")[0] not in known:
            raise _no_field(name, flag, known)
        return tuple(name.split("."))

    return parse


_FEW = 15
# Of a payload what is most often asked for.
_SAID = {"content", "chunk", "message", "error", "status", "tool_name", "result", "output"}


def _no_field(name: str, flag: str, known: Sequence[str]) -> WrongUsage:
    first = name.partition(".")[0]
    near = get_close_matches(first, known, n=1)
    guess = f"Did you mean {near[0]}?" if near and near[0] != first else None
    if first in _SAID and "payload" in known:
        guess = f"Did you mean payload.{name}?"
    there = f"There are {', '.join(known)}."
    if guess and len(known) <= _FEW:  # a column's heading is often not the field's name
        guess = f"{guess} {there}"
    return WrongUsage(f"{flag}: there is no field {name!r}", guess or there)


def _record_values(record: Record, said: Said, at: float, source: str | None) -> ValueOf:
    return lambda path: _value(record, said, path, at, source)


def _row_values(row: Row) -> ValueOf:
    def value_of(path: Path) -> Any:
        value: Any = row
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    return value_of


def _value(record: Record, said: Said, path: Path, at: float, source: str | None) -> Any:
    if path[0] == "time":
        moment = datetime.fromtimestamp(at, tz=UTC).astimezone()
        return moment.isoformat(timespec="milliseconds")
    if path[0] == "source":
        return source
    value = at_path(path, said)(record)
    return None if value is MISSING else value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
