"""Which fields of answers vary from run to run by themselves: a list to review, and to ignore."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from megabot_cli.errors import BadConfiguration
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.likeness import DEEPEST, step_to, varies_by_itself
from megabot_cli.replay.compare import in_payload

# In quotes a # is part of a name.
_BEFORE_REMARK: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^#])*+')
STREAM_TEXT: Final = "payload.chunk"  # the text of a stream, put together

_Place = tuple[str, bool]  # a path, and whether what stands there is ignored


class Variation:
    """Finds the paths whose values are not the same in all rounds, which are added one by one;
    of each value it keeps no more than whether another is the same.

    Ids and times are left out: they are never compared. Steps of another number or kind are
    no varying field, and are not told here. `ignored` are paths as `Comparer` takes them.
    """

    def __init__(self, ignored: Sequence[str] = ()) -> None:
        self._ignored = in_payload(ignored)
        self._places: frozenset[int] | None = None  # of the first round
        self._seen: dict[tuple[int, _Place], int] = {}
        self._varied: set[tuple[int, _Place]] = set()

    def add(self, answers: Mapping[int, Answer]) -> None:
        """The answers of a round by place; of those the first round had not, nothing is told."""
        if self._places is None:
            self._places = frozenset(answers)
        for place in self._places & answers.keys():
            for where, value in _values(answers[place], self._ignored):
                sign = hash(value)
                if self._seen.setdefault((place, where), sign) != sign:
                    self._varied.add((place, where))

    def copy(self) -> Variation:
        other = Variation()
        other._ignored, other._places = self._ignored, self._places
        other._seen, other._varied = dict(self._seen), set(self._varied)
        return other

    def found(self, *, with_ignored: bool = False) -> dict[str, int]:
        """The paths, and in how many answers each varied."""
        varied = {
            (place, path)
            for place, (path, is_ignored) in self._varied
            if with_ignored or not is_ignored
        }
        return dict(Counter(path for _, path in sorted(varied)).most_common())


def _values(answer: Answer, ignored: list[list[str]]) -> Iterator[tuple[_Place, str]]:
    """What an answer says at each path, all its steps of one path together."""
    said: dict[_Place, list[str]] = {}
    for part in answer.parts:
        if part.stream is not None:
            where = (STREAM_TEXT, ["chunk"] in ignored)
            said.setdefault(where, []).append(part.stream.text)
        else:
            for where, value in _leaves(part.payload, "payload", 0, ignored):
                said.setdefault(where, []).append(value)
    for where, values in said.items():
        yield where, "\n".join(values)


def _leaves(
    value: Any, path: str, depth: int, ignored: list[list[str]]
) -> Iterator[tuple[_Place, str]]:
    """`ignored` goes on from here: an empty one has come to its end, and all below is left out."""
    if depth > DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if not varies_by_itself(key):
                rest = _below(ignored, key)
                yield from _leaves(inner, path + step_to(key), depth + 1, rest)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.*", depth + 1, _below(ignored, str(place)))
    else:
        yield (path, [] in ignored), repr(value)


def _below(ignored: list[list[str]], step: str) -> list[list[str]]:
    return [names[1:] for names in ignored if not names or names[0] in ("*", step)]


def write_ignored(path: Path, found: Mapping[str, int], answers: int) -> None:
    """A list for `--ignore-file`, one path a line, each with how often it varied."""
    lines = ["# What varied between runs. Review it: what is listed is not compared.\n"]
    lines += [f"{name}  # in {count} of {answers} answers\n" for name, count in found.items()]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as fault:
        raise BadConfiguration(
            f"Cannot write {path}: {fault.strerror or fault}",
            "Name a file in a folder of your own.",
        ) from fault


def read_ignored(path: Path) -> list[str]:
    """The paths in such a list; what follows a # is for people."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as fault:
        raise BadConfiguration(
            f"Cannot read {path}: {fault.strerror or fault}",
            "`megabot replay --runs 3 --write-ignore FILE` writes one.",
        ) from fault
    lines = (_BEFORE_REMARK.match(line) for line in text.splitlines())
    return [name for line in lines if line is not None and (name := line[0].strip())]
