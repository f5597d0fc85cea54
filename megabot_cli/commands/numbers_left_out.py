"""Options whose number may be left out: `--around` alone means `--around=5`.

Typer's parser has no such options, so the words are completed before it sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def with_numbers_left_out(params: Iterable[Any], words: Sequence[str]) -> list[str]:
    """The words of a command line, each such option with the number it means when it has none.

    Its number is in the same word, behind `=`, or is the next word if that is a whole number:
    what else follows (a file, another option) is not its value.
    """
    takers = {
        name: param
        for param in params
        if param.param_type_name == "option" and not (param.is_flag or param.count)
        for name in param.opts
    }
    if not any(_kind(param) for param in takers.values()):
        return list(words)
    whole: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*whole, word, *rest]
        param = takers.get(word) or _last_in_cluster(word, takers)
        kind = _kind(param)
        if kind is not None and not (rest and kind.is_value(rest[0])):
            whole.append(f"{word}={kind.alone}")
            continue
        whole.append(word)
        if param is not None and rest:
            whole.append(rest.pop(0))
    return whole


def number_when_left_out(param: Any) -> int | None:
    """What an option means without its number; None: it needs its value."""
    kind = _kind(param)
    return None if kind is None else int(kind.alone)


def _kind(param: Any) -> Any:
    """The `values.NumberOr` that reads the option's value; None where it is of another kind."""
    source = getattr(getattr(param, "type", None), "func", None)
    return source if hasattr(source, "alone") else None


def _last_in_cluster(word: str, takers: dict[str, Any]) -> Any:
    """The option whose value is the word after `word`, of letters in one (`-fn`); None: no one."""
    if word.startswith("--") or not word.startswith("-"):
        return None
    for place, letter in enumerate(word[1:], 1):
        if f"-{letter}" in takers:
            return takers[f"-{letter}"] if place == len(word) - 1 else None
    return None
