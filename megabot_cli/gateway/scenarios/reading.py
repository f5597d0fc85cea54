"""From the text of a file to a scenario; what is wrong in it is named by file, line and path."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from megabot_cli.config.spelling import did_you_mean
from megabot_cli.errors import BadConfiguration, MegabotError
from megabot_cli.gateway.scenarios import filling
from megabot_cli.gateway.scenarios.declaration import (
    LAST_WORDS,
    MATCHES,
    STEPS,
    WORDS,
    Call,
    Match,
    Rule,
    Scenario,
    Step,
    argument_of,
    word_of,
)
from megabot_cli.gateway.scenarios.details import detailed
from megabot_cli.recording.expression import Expression

Path = tuple[str, ...]

_AT = re.compile(r"(?s)(.*?)(?: - at `\$(.*)`)?$")
_PART = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`")
_MISSING_FIELD = re.compile(r"missing required field `(.*)`")
_WRONG_WORD = re.compile(r"(?s)Invalid enum value '(.*)'")


def read_scenario(text: str, file: str) -> Scenario:
    """The scenario in a file's text. BadConfiguration names the first thing wrong in it."""
    from megabot_cli.config.yaml_text import parse_yaml  # costs as much as all else here

    values, lines = parse_yaml(text, file)
    reader = _Reader(values, lines, file)
    try:
        scenario = msgspec.convert(values, Scenario)
    except msgspec.ValidationError as fault:
        raise reader.explained(str(fault)) from None
    for index, rule in enumerate(scenario.rules):
        reader.check(rule, ("rules", str(index)))
    return scenario


class _Reader:
    def __init__(self, values: Any, lines: Mapping[Path, int], file: str) -> None:
        self._values = values
        self._lines = lines
        self._file = file

    def explained(self, fault: str) -> BadConfiguration:
        """What msgspec found, in words of the file."""
        found = _AT.match(fault)
        assert found is not None
        reason, path = found[1], _path_of(found[2] or "")
        if word := _UNKNOWN_FIELD.search(reason):
            return self._unknown((*path, word[1]), _words_at(path))
        if word := _WRONG_WORD.search(reason):
            return self._unknown(path, _words_at(path), word[1])
        if word := _MISSING_FIELD.search(reason):
            return self._wrong(path, f"{word[1]!r} is missing")
        value = _value_at(self._values, path)
        shown = "nothing" if value is None else f"{str(value)[:60]!r}"
        needed = reason.replace("`", "").replace(" | null", "")
        return self._wrong(path, f"{shown} cannot stand here: {needed[0].lower()}{needed[1:]}")

    def check(self, rule: Rule, path: Path) -> None:
        """What types alone cannot say of a rule."""
        self._check_match(rule, (*path, "match"))
        known = set(filling.GIVEN)
        for index, step in enumerate(rule.steps):
            at = (*path, "steps", str(index))
            word = self._word(step, at)
            if word not in STEPS[rule.when]:
                allowed = ", ".join(sorted(STEPS[rule.when]))
                raise self._wrong(
                    at, f"{word!r} is no step of a rule for {rule.when}", f"There: {allowed}."
                )
            if word in LAST_WORDS and index + 1 < len(rule.steps):
                raise self._wrong(
                    (*path, "steps", str(index + 1)),
                    f"nothing can follow {word!r}",
                    "Remove this step, or put it before.",
                )
            self._check_names(step, known, (*at, word))
            self._check_range(step, (*at, word))
            if isinstance(details := detailed(step), Call):
                known.add(details.save_as)

    def _check_match(self, rule: Rule, path: Path) -> None:
        match = rule.match
        for name in Match.__struct_fields__:
            given = getattr(match, name) != getattr(Match(), name)
            if given and name not in MATCHES[rule.when]:
                allowed = ", ".join(sorted(MATCHES[rule.when]))
                raise self._wrong(
                    (*path, name), f"{name!r} says nothing about {rule.when}", f"There: {allowed}."
                )
        if match.regex is not None:
            try:
                re.compile(match.regex)
            except re.error as fault:
                place = f" at character {fault.pos + 1}" if fault.pos is not None else ""
                raise self._wrong(
                    (*path, "regex"), f"no regular expression{place}: {fault.msg}"
                ) from None
        if match.where is not None:
            try:
                Expression(match.where)
            except MegabotError as fault:
                raise self._wrong((*path, "where"), fault.message, fault.hint) from None

    def _word(self, step: Any, at: Path) -> str:
        if isinstance(step, Step):
            given = [name for name in Step.__struct_fields__ if getattr(step, name) is not None]
            if len(given) != 1:
                said = " and ".join(given) or "none"
                raise self._wrong(
                    at, f"a step is one word, here: {said}", "Begin a step of its own with `- `."
                )
        return word_of(step)

    def _check_names(self, step: Any, known: set[str], path: Path) -> None:
        for name in filling.names_in(argument_of(step)):
            if name not in known:
                raise self._wrong(
                    path,
                    f"nothing is known as ${{{name}}} here",
                    did_you_mean(name, known) or f"There are {', '.join(sorted(known))}.",
                )

    def _check_range(self, step: Any, path: Path) -> None:
        argument = argument_of(step)
        for span in (argument, getattr(argument, "pace_s", None)):
            if word_of(step) != "send" and isinstance(span, list) and span[0] > span[1]:
                raise self._wrong(path, f"the range {span} begins above its end")

    def _unknown(
        self, path: Path, known: Iterable[str], word: str | None = None
    ) -> BadConfiguration:
        words = sorted(known)
        wrong = path[-1] if word is None else word
        hint = did_you_mean(wrong, words) or f"There are {', '.join(words)}."
        return self._wrong(path, f"there is no word {wrong!r} here", hint)

    def _wrong(self, path: Path, problem: str, hint: str | None = None) -> BadConfiguration:
        hint = hint or "man megabot-scenarios shows what may stand there."
        return BadConfiguration(f"{self._place(path)}: {_written(path)}: {problem}", hint)

    def _place(self, path: Path) -> str:
        while path and path not in self._lines:
            path = path[:-1]
        return f"{self._file}:{self._lines[path]}" if path else self._file


def _path_of(text: str) -> Path:
    return tuple(name or index for name, index in _PART.findall(text))


def _written(path: Path) -> str:
    """`rules[0].steps[1].reply`"""
    text = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path)
    return text.lstrip(".") or "the file"


def _value_at(values: Any, path: Path) -> Any:
    for part in path:
        if isinstance(values, dict):
            values = values.get(part)
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def _words_at(path: Path) -> tuple[str, ...]:
    """The words that may stand at a path, from the declaration."""
    kinds: list[Any] = [Scenario]
    for part in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    if Step in kinds:
        return WORDS
    words: list[str] = []
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            words += kind.__struct_fields__
        elif get_origin(kind) is Literal:
            words += get_args(kind)
    return tuple(words)


def _inside(kind: Any, part: str) -> Iterator[Any]:
    """The types that are one part of a path further in."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            if field.name == part:
                yield from _alternatives(field.type)
    elif get_origin(kind) is list:
        yield from _alternatives(get_args(kind)[0])


def _alternatives(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, types.UnionType):
        for each in get_args(kind):
            yield from _alternatives(each)
    else:
        yield kind
