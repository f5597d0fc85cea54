"""What is shown of a record, as an operator says it: `--fields id,payload.code`, `--template`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
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


class Layout:
    """Fields, or a text with fields in braces. `time` is local, with its offset from UTC;
    `source` is where the record was seen. A field that a record has not is empty."""

    def __init__(self, pieces: Sequence[str | Path]) -> None:
        self._pieces = tuple(pieces)
        self._said = Message().of

    @property
    def _paths(self) -> list[Path]:
        return [piece for piece in self._pieces if not isinstance(piece, str)]

    def facts(self, record: Record, at: float, source: str | None) -> dict[str, Any]:
        """The fields as values, by their names; None for what is not there."""
        return {
            ".".join(path): _value(record, self._said, path, at, source) for path in self._paths
        }

    def line(self, record: Record, at: float, source: str | None, clean: Clean) -> str:
        """The text; `clean` makes what others wrote fit for where it is shown."""
        return "".join(
            piece
            if isinstance(piece, str)
            else clean(_text(_value(record, self._said, piece, at, source)))
            for piece in self._pieces
        )


def parse_fields(text: str) -> Layout:
    """`a,b.c`: the fields with tabs between them. WrongUsage for one that no record has."""
    pieces: list[str | Path] = []
    for name in text.split(","):
        pieces += ["\t"] * bool(pieces) + [_path(name.strip(), "--fields")]
    return Layout(pieces)


def parse_template(text: str) -> Layout:
    """`{type}: {payload.content}`; `{{` is a brace, `\\t` a tab. WrongUsage for a wrong one."""
    pieces: list[str | Path] = []
    for match in _PIECE.finditer(text):
        if match[0] in ("{{", "}}"):
            pieces.append(match[0][0])
        elif match["path"] is not None:
            pieces.append(_path(match["path"].strip(), "--template"))
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
        near = get_close_matches(first, known, n=1)
        hint = f"Did you mean {near[0]}?" if near and near[0] != first else None
        raise WrongUsage(
            f"{flag}: there is no field {name!r}", hint or f"There are {', '.join(known)}."
        )
    return tuple(name.split("."))


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
