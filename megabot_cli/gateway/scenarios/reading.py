"""From the text of a file to a scenario; what is wrong in it is named by file, line and path."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    When,
    Word,
    argument_of,
    word_of,
)
from megabot_cli.gateway.scenarios.details import detailed
from megabot_cli.recording.expression import Expression
from megabot_cli.recording.regular import compiled
from megabot_cli.wording import counted

Path = tuple[str, ...]

_MANUAL = "man megabot-scenarios shows what may stand there."
_AT = re.compile(r"(?s)(.*?)(?: - at `\$(.*)`)?$")
_PART = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_ODD_KEY = re.compile(r" - at `key` in `\$(.*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`")
_MISSING_FIELD = re.compile(r"missing required field `(.*)`")
_WRONG_WORD = re.compile(r"(?s)Invalid enum value '(.*)'")


def read_scenario(text: str, file: str) -> Scenario:
    """The scenario in a file's text. BadConfiguration names all that is wrong in it."""
    scenario, faults = read_liberally(text, file)
    if scenario is None:
        raise _together(faults, file)
    return scenario


def read_liberally(text: str, file: str) -> tuple[Scenario | None, list[BadConfiguration]]:
    """The scenario in a file's text, or None and all that is wrong in it.

    BadConfiguration for what is no YAML, so that nothing more can be said of it.
    """
    from megabot_cli.config.yaml_text import parse_liberally  # costs as much as all else here

    values, lines, faults = parse_liberally(text, file)
    reader = _Reader(values, lines, file)
    scenario = reader.read()
    faults += reader.faults
    return (None, faults) if faults else (scenario, [])


def _together(faults: list[BadConfiguration], file: str) -> BadConfiguration:
    if len(faults) == 1:
        return faults[0]
    lines = [f"{file} has {counted(len(faults), 'fault')}"]
    for fault in faults:
        hint = f" ({fault.hint})" if fault.hint not in (None, _MANUAL) else ""
        lines.append(f"  {fault.message}{hint}")
    return BadConfiguration("\n".join(lines), _MANUAL)


class _Reader:
    """Goes through a file; what is wrong is kept in `faults`."""

    def __init__(self, values: Any, lines: Mapping[Path, int], file: str) -> None:
        self._values = values
        self._lines = lines
        self._file = file
        self.faults: list[BadConfiguration] = []

    def read(self) -> Scenario | None:
        """What is wrong in one part hides nothing in the others."""
        try:
            scenario = msgspec.convert(self._values, Scenario)
        except msgspec.ValidationError as fault:
            self._read_part_by_part()
            if not self.faults:  # the parts are good, each for itself
                self.faults.append(self._explained(str(fault), ()))
            return None
        for index, rule in enumerate(scenario.rules):
            self._check(rule, rule.steps, ("rules", str(index)))
        return scenario

    def _read_part_by_part(self) -> None:
        rules = self._values.get("rules") if isinstance(self._values, dict) else None
        if not isinstance(rules, list):
            self._part(self._values, Scenario, ())
            return
        for name, value in self._values.items():
            if name != "rules":
                self._part({"rules": [], name: value}, Scenario, ())
        for index, rule in enumerate(rules):
            self._read_rule(rule, ("rules", str(index)))

    def _read_rule(self, values: Any, at: Path) -> None:
        """Look at each word of a rule for itself, then at the good ones together."""
        if not isinstance(values, dict) or not values.get("steps"):
            self._part(values, Rule, at)
            return
        good: dict[str, Any] = {}
        for name, value in values.items():
            if name == "match" and isinstance(value, dict):
                at_match = (*at, "match")
                good[name] = {
                    each: said
                    for each, said in value.items()
                    if self._part({each: said}, Match, at_match) is not None
                }
            elif name == "steps" and isinstance(value, list):
                continue
            elif self._part({"steps": ["pass"], name: value}, Rule, at) is not None:
                good[name] = value
        if not isinstance(values["steps"], list):
            return
        steps = [
            self._part(step, Word | Step, (*at, "steps", str(index)))
            for index, step in enumerate(values["steps"])
        ]
        if "when" in values and "when" not in good:
            return  # nobody knows what may stand there
        self._check(msgspec.convert({**good, "steps": ["pass"]}, Rule), steps, at)

    def _part(self, values: Any, kind: Any, at: Path) -> Any:
        """The values as what stands `at` a path; None where they are no such thing."""
        try:
            return msgspec.convert(values, kind)
        except msgspec.ValidationError as fault:
            self.faults.append(self._explained(str(fault), at))
            return None

    def _explained(self, fault: str, at: Path) -> BadConfiguration:
        """What msgspec found, in words of the file."""
        if odd := _ODD_KEY.search(fault):
            return self._odd_key((*at, *_path_of(odd[1])))
        found = _AT.match(fault)
        assert found is not None
        reason, path = found[1], (*at, *_path_of(found[2] or ""))
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

    def _odd_key(self, path: Path) -> BadConfiguration:
        """Of a key that YAML reads as a truth, a number or nothing."""
        keys = _value_at(self._values, path)
        odd = next((key for key in keys if not isinstance(key, str)), None)
        if isinstance(odd, bool):
            spelt = "yes, on or true" if odd else "no, off or false"
            hint = f"YAML takes {spelt} for a truth. {_MANUAL}"
            return self._wrong(path, "there is no such word here", hint)
        return self._wrong(path, f"there is no word {odd!r} here")

    # What types alone cannot say of a rule

    def _check(self, rule: Rule, steps: Sequence[Any], path: Path) -> None:
        """`steps` are its own; None for one that is wrong already."""
        self.faults += self._wrong_in_match(rule, (*path, "match"))
        known = set(filling.GIVEN)
        for index, step in enumerate(steps):
            at = (*path, "steps", str(index))
            if step is None:
                known |= _names_given(_value_at(self._values, at))
                continue
            is_last = index + 1 == len(steps)
            self.faults += self._wrong_in_step(step, rule.when, known, at, is_last=is_last)
            if isinstance(details := _details_of(step), Call):
                known.add(details.save_as)

    def _wrong_in_step(
        self, step: Any, when: When, known: set[str], at: Path, *, is_last: bool
    ) -> Iterator[BadConfiguration]:
        said = _words_in(step)
        if len(said) != 1:
            yield self._wrong(
                at,
                f"a step is one word, here: {' and '.join(said) or 'none'}",
                "Begin a step of its own with `- `.",
            )
            return
        (word,) = said
        if word not in STEPS[when]:
            allowed = ", ".join(sorted(STEPS[when]))
            yield self._wrong(at, f"{word!r} is no step of a rule for {when}", f"There: {allowed}.")
            return
        if word in LAST_WORDS and not is_last:
            following = (*at[:-1], str(int(at[-1]) + 1))
            yield self._wrong(
                following,
                f"nothing can follow {word!r}",
                "Remove this step, or put it before.",
            )
        yield from self._unknown_names(step, known, (*at, word))
        yield from self._wrong_ranges(step, (*at, word))

    def _wrong_in_match(self, rule: Rule, path: Path) -> Iterator[BadConfiguration]:
        match = rule.match
        for name in Match.__struct_fields__:
            given = getattr(match, name) != getattr(Match(), name)
            if given and name not in MATCHES[rule.when]:
                allowed = ", ".join(sorted(MATCHES[rule.when]))
                yield self._wrong(
                    (*path, name), f"{name!r} says nothing about {rule.when}", f"There: {allowed}."
                )
        if match.regex is not None:
            try:
                compiled(match.regex)
            except re.error as fault:
                place = f" at character {fault.pos + 1}" if fault.pos is not None else ""
                yield self._wrong((*path, "regex"), f"no regular expression{place}: {fault.msg}")
        if match.where is not None:
            try:
                Expression(match.where)
            except MegabotError as fault:
                yield self._wrong((*path, "where"), fault.message, fault.hint)

    def _unknown_names(self, step: Any, known: set[str], path: Path) -> Iterator[BadConfiguration]:
        for name in filling.names_in(argument_of(step)):
            if name not in known:
                yield self._wrong(
                    path,
                    f"nothing is known as ${{{name}}} here",
                    did_you_mean(name, known) or f"There are {', '.join(sorted(known))}.",
                )

    def _wrong_ranges(self, step: Any, path: Path) -> Iterator[BadConfiguration]:
        argument = argument_of(step)
        for span in (argument, getattr(argument, "pace_s", None)):
            if word_of(step) != "send" and isinstance(span, list) and span[0] > span[1]:
                yield self._wrong(path, f"the range {span} begins above its end")

    def _unknown(
        self, path: Path, known: Iterable[str], word: str | None = None
    ) -> BadConfiguration:
        words = sorted(known)
        wrong = path[-1] if word is None else word
        hint = did_you_mean(wrong, words) or f"There are {', '.join(words)}."
        return self._wrong(path, f"there is no word {wrong!r} here", hint)

    def _wrong(self, path: Path, problem: str, hint: str | None = None) -> BadConfiguration:
        place = f"{self._place(path)}: {_written(path)}"
        return BadConfiguration(f"{place}: {problem}", hint or _MANUAL)

    def _place(self, path: Path) -> str:
        while path and path not in self._lines:
            path = path[:-1]
        return f"{self._file}:{self._lines[path]}" if path else self._file


def _words_in(step: Word | Step) -> list[str]:
    """The words that a step says; there should be one."""
    if isinstance(step, str):
        return [step]
    return [name for name in Step.__struct_fields__ if getattr(step, name) is not None]


def _details_of(step: Word | Step) -> Any:
    return detailed(step) if len(_words_in(step)) == 1 else None


def _names_given(step: Any) -> set[str]:
    """The names that a wrong step was meant to give, as far as one can tell."""
    said = step.values() if isinstance(step, dict) else ()
    given = (each.get("save_as") for each in said if isinstance(each, dict))
    return {Call(tool="any").save_as, *(name for name in given if isinstance(name, str))}


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
