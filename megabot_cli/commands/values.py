"""Values as people type them: durations, JSON, `name=value` pairs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from megabot_cli.errors import BadData, NotFound, WrongUsage

_DURATION = re.compile(r"(?P<amount>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>ms|s|m|h|d)?\Z", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")
_MOST_DIGITS = 18  # what containers of Python take as a length
_LONGEST_S = 100 * 366 * 86400.0
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str | float) -> float:
    """Seconds: `500ms`, `10s`, `5m`, `2h`, `1d`, or a bare number of seconds."""
    match = _DURATION.match(str(text).strip())  # Typer hands in the default as the float it is
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write 500ms, 10s, 5m, 2h or 1d.")
    seconds = float(match["amount"]) * _UNIT_S[match["unit"] or "s"]
    if seconds > _LONGEST_S:
        raise typer.BadParameter(f"{text!r} is longer than a hundred years.")
    return seconds


def times_as_fast(text: str | float) -> float:
    """How many times as fast: 0.1 to 1000. Typer's own range takes what is not a number."""
    try:
        times = float(text)
    except ValueError:
        times = math.nan
    if not 0.1 <= times <= 1000:
        raise typer.BadParameter(f"{text!r} is no number from 0.1 to 1000.")
    return times


def days(text: str | float) -> float:
    """How many days, from 0 on. Typer's own range takes what is not a number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"{text!r} is no number of days.")
    return number


def json_object(text: str, named: str) -> dict[str, Any]:
    """A JSON object. BadData marks the place where `named` stops being one."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as fault:
        line = f"line {fault.lineno}, " if "\n" in text else ""
        raise BadData(
            f"{named} is no JSON: {fault.msg.removesuffix(' at')} at {line}column {fault.colno}",
            _marked(text, fault),
        ) from None
    except RecursionError:
        raise BadData(f"{named} is nested too deep") from None
    if not isinstance(value, dict):
        raise BadData(f"{named} is no JSON object", 'Write {"name": value}.')
    return value


def _marked(text: str, fault: json.JSONDecodeError) -> str:
    """The part of the line around the fault, and an arrow at it."""
    line = text.splitlines()[fault.lineno - 1] if text else ""
    start = max(0, fault.colno - 31)
    return f"… {line[start : fault.colno - 1]} →here← {line[fault.colno - 1 : fault.colno + 29]} …"


def pairs(texts: Iterable[str], flag: str) -> dict[str, Any]:
    """`name=value` texts as a dict. A value that is JSON is taken as that, else as text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise WrongUsage(f"{flag} {text!r} is no pair", f"Write {flag} name=value.")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


ToolPrograms = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        metavar="NAME=CMD",
        help="Have MegaBot's calls of this tool carried out by a program: JSON on its stdin, "
        "the result on its stdout.",
    ),
]


def programs(texts: Iterable[str], flag: str) -> dict[str, tuple[str, ...]]:
    """`NAME=CMD` texts as programs with their arguments, by name; no shell reads CMD.

    NotFound for one that is not there: it is called only when the answer waits for it.
    """
    import shlex
    from shutil import which

    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, command = text.partition("=")
        try:
            words = shlex.split(command)
        except ValueError as fault:
            raise WrongUsage(f"{flag} {name}: {fault}", "A quote is open in its command.") from None
        if not name or not equals or not words:
            raise WrongUsage(f"{flag} {text!r} names no program", f"Write {flag} NAME=CMD.")
        if which(words[0]) is None:
            raise NotFound(
                f"{flag} {name}: there is no program {words[0]!r}",
                "Name one that is on the PATH, or its path.",
            )
        found[name] = tuple(words)
    return found


def none_of(flag: str, typed: str, forms: Sequence[str]) -> WrongUsage:
    """What is wrong with a value that is none of `forms`, and which of them may be meant.

    A form that goes on after a colon has an example there: `fixed:10/s`.
    """
    from megabot_cli.config.spelling import nearest

    word, _, rest = typed.partition(":")
    by_word = {form.partition(":")[0]: form for form in forms}
    close = nearest(word, by_word)
    meant = None if close is None else by_word[close]
    if meant is not None and ":" in meant and rest and word != close:
        meant = f"{close}:{rest}"
    what = f"{flag} {typed!r} is none of {', '.join(forms)}"
    return WrongUsage(what, f"Did you mean {meant!r}?" if meant else None)


class MostlyOneOf:
    """Takes any text, for the command to judge; `choices` are offered where one is typed."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices
        self.__name__ = "text"

    def __call__(self, text: str) -> str:
        return text


class NumberOr:
    """Takes a whole number from 0 on. An option of this kind may go without: it then means `alone`.

    Whether the next word is its number, `tree.Command` asks `is_value`, for the parser does not.
    """

    __name__ = "number"

    def __init__(self, alone: int) -> None:
        self.alone = alone

    def __call__(self, text: str | int) -> int:
        digits = str(text).removeprefix("+")
        if not self.is_value(digits) or digits.startswith("-"):
            raise typer.BadParameter(f"{text!r} is no whole number from 0 on.")
        if len(digits) > _MOST_DIGITS:
            raise typer.BadParameter(f"{text!r} is more than there can be of anything.")
        return int(digits)

    @staticmethod
    def is_value(word: str) -> bool:
        """Whether it is meant as a number, be it one that is refused."""
        return _WHOLE_NUMBER.fullmatch(word) is not None


class SessionName:
    """Takes any text, for the command to judge; the sessions of a running relay are offered."""

    __name__ = "text"
    is_session = True

    def __call__(self, text: str) -> str:
        return text


class ScenarioName:
    """Takes any text, for the command to judge; the shipped scenarios are offered."""

    __name__ = "text"

    def __call__(self, text: str) -> str:
        return text

    @property
    def choices(self) -> tuple[str, ...]:
        """Read when a script or manual is made."""
        from megabot_cli.gateway.scenarios.finding import shipped_scenarios

        return tuple(shipped_scenarios())


class SettingPrefix:
    """Takes any text, for the command to judge; sections and their settings are offered."""

    __name__ = "text"

    def __call__(self, text: str) -> str:
        return text

    @property
    def choices(self) -> tuple[str, ...]:
        """Read when a script or manual is made."""
        from megabot_cli.config.catalogue import PROFILE_PATH, catalogue

        paths = [each.path for each in catalogue() if each.path[:2] != PROFILE_PATH]
        sections = dict.fromkeys(path[0] for path in paths if len(path) > 1)
        return ("profiles", *sections, *(".".join(path) for path in paths))


class SettingName:
    """Takes any text, for the command to judge; the names of all settings are offered."""

    __name__ = "text"

    def __call__(self, text: str) -> str:
        return text

    @property
    def choices(self) -> tuple[str, ...]:
        """Those of a profile by their last part; read when a script or manual is made."""
        from megabot_cli.config.catalogue import PROFILE_PATH, catalogue

        return tuple(
            ".".join(each.path[2:] if each.path[:2] == PROFILE_PATH else each.path)
            for each in catalogue()
        )


def rate(text: str, flag: str) -> float:
    """Times a second: `10/s`, or `10`. WrongUsage for what is none or not above zero."""
    try:
        per_s = float(text.removesuffix("/s"))
    except ValueError:
        per_s = 0.0
    if not 0 < per_s < math.inf:
        raise WrongUsage(f"{flag}: {text!r} is no rate", "Write one such as 10/s.")
    return per_s


_SIZE = re.compile(r"(?P<amount>\d{1,18}(?:\.\d+)?)\s*(?P<unit>[kKMGT]i?B?|B)?\Z", re.ASCII)
_STEPS = "KMGT"


def size_in_bytes(text: str | int) -> int:
    """Bytes: `500MB`, `10GiB`, `1024`; KB is a thousand, KiB 1 024."""
    match = _SIZE.match(str(text).strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; write 500MB, 10GiB or a number of bytes.")
    unit = match["unit"] or "B"
    step = 1024 if "i" in unit else 1000
    return int(float(match["amount"]) * step ** (_STEPS.find(unit[0].upper()) + 1))
