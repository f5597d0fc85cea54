"""A scenario in words: what it would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from megabot_cli.gateway.scenarios.declaration import (
    Match,
    Rule,
    Scenario,
    Step,
    Word,
    argument_of,
    word_of,
)

_LONGEST_TEXT = 60

# A rule for these ends as it always does, unless a step says otherwise.
_GO_ON = {"login": "log in", "connect": "connect", "open": "serve", "sending": "send"}
_INSTEAD = frozenset(
    {"pass", "drop", "duplicate", "reorder", "malformed", "refuse", "redirect", "close", "abort"}
)


def described(scenario: Scenario) -> list[dict[str, str]]:
    """Each rule: what it is called, when it is for, what it asks, what it does."""
    return [
        {
            "name": rule.name or f"rule {number}",
            "when": rule.when,
            "match": ", ".join(_conditions(rule.match)) or "any",
            "steps": ", then ".join(_steps(rule)),
        }
        for number, rule in enumerate(scenario.rules, 1)
    ]


def _conditions(match: Match) -> Iterator[str]:
    for name in ("type", "user", "session"):
        if (pattern := getattr(match, name)) is not None:
            yield f"{name} {pattern}"
    if match.text is not None:
        yield f"text has “{match.text}”"
    if match.regex is not None:
        yield f"text matches /{match.regex}/"
    if match.nth is not None:
        yield f"only time {match.nth}{_scope(match)}"
    if match.every is not None:
        yield f"every {match.every}{_scope(match)}"
    if match.after is not None:
        yield f"after {match.after}{_scope(match)}"
    if match.where is not None:
        yield f"where {match.where}"
    if match.probability is not None:
        yield f"{match.probability:.3g} of the times"


def _scope(match: Match) -> str:
    return "" if match.per == "gateway" else f" of a {match.per}"


def _steps(rule: Rule) -> Iterator[str]:
    for step in rule.steps:
        yield _step(step)
    if rule.when in _GO_ON and not any(word_of(step) in _INSTEAD for step in rule.steps):
        yield f"{_GO_ON[rule.when]} as usual"


def _step(step: Word | Step) -> str:
    word, argument = word_of(step), argument_of(step)
    if argument is None:
        return "go on as usual" if word == "pass" else word.replace("_", " ")
    if word == "delay_s":
        return f"wait {_span(argument)} s"
    word = word.removesuffix("_s").replace("_", " ")
    if isinstance(argument, msgspec.Struct):
        given = msgspec.to_builtins(argument)
        return " ".join([word, *(f"{name}={_shown(each)}" for name, each in given.items())])
    return f"{word} {_shown(argument)}"


def _span(span: float | list[float]) -> str:
    return "–".join(f"{each:g}" for each in span) if isinstance(span, list) else f"{span:g}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…"
        return f"“{text}”" if " " in text else text
    return msgspec.json.encode(value).decode()
