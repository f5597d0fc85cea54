"""Regular expressions that mean the same to Python's `re` as to the condition language's engine.

The engine compiles an expression anew for each record, and takes fifty times as long. Whether a
text holds a match does not depend on who looks for it, as long as both read the expression alike:
characters, sets of them, `.`, `^`, `$`, brackets and `|`, and repetitions of a single character.
Nothing else is taken, and nothing that could make Python's way of trying one thing after the
other take long (a repetition in a repetition).
"""

from __future__ import annotations

import re
from functools import cache

import msgspec

_SET = r"\[\^?(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|\\[dws.\-\]\[^\\]|[^\[\]\\&~^-])+\]"
_PART = re.compile(
    r"(?P<once>\^|\$|\\b|\((?:\?:)?|\)|\|)"
    rf"|(?P<one>\\[.^$*+?()\[\]{{}}|\\-]|\\[dDwWsS]|\.|{_SET}|[^\\.^$*+?()\[\]{{}}|])"
)
_REPEATED = re.compile(r"(?:[*+?]|\{(?P<least>\d{1,2})(?:,(?P<most>\d{1,2})?)?\})\??")
_REPEATS = frozenset("*+?{")
_ESCAPED_CLASS = re.compile(r"\\[dDwWsSb]")
_ANY_CASE = "(?i)"
_MOST_WAYS = 32
_MOST_REPEATED = 6
_MOST_TIMES = 20  # more of a large set, and the engine refuses the expression
_MOST_STEPS = 10_000_000  # 0.1 s


class PortablePattern(msgspec.Struct, frozen=True):
    """`source` as `re` is to read it. To look through a text of n characters takes at most
    about `ways` times n to the power of `degree` steps."""

    source: str
    degree: int
    ways: int
    of_ascii: bool

    def is_found(self, text: str) -> bool | None:
        """Whether it matches anywhere in `text`; None: the engine must tell."""
        if not text.isascii() and (self.of_ascii or not _is_encodable(text)):
            return None  # what a digit is, and a letter, each has its own list
        if self.ways * len(text) ** self.degree > _MOST_STEPS:
            return None
        return _compiled(self.source).search(text) is not None


def portable_pattern(source: str) -> PortablePattern | None:
    """None for what one of the two may read otherwise, or take long to find."""
    any_case = source.startswith(_ANY_CASE)
    if any_case and not source.isascii():
        return None  # which letters are one another's capitals, each has its own list
    parts = [_ANY_CASE] if any_case else []
    source = source.removeprefix(_ANY_CASE)
    repeated, at = 0, 0
    ways = _Ways()
    while at < len(source):
        part = _PART.match(source, at)
        if part is None or not _is_in_order(part["one"] or ""):
            return None
        at = part.end()
        parts.append(r"\Z" if part[0] == "$" else part[0])
        if part["one"] is None:
            ways.take(part[0])
        repetition = _REPEATED.match(source, at)
        if repetition is None:
            continue
        at = repetition.end()
        if part["one"] is None or not _is_taken(repetition) or source[at : at + 1] in _REPEATS:
            return None
        repeated += 1
        parts.append(repetition[0])
    if not ways.are_closed or ways.count > _MOST_WAYS or repeated > _MOST_REPEATED:
        return None
    begins_anywhere = not source.startswith("^") or ways.count > 1
    of_ascii = any_case or _ESCAPED_CLASS.search(source.replace("\\\\", "")) is not None
    return PortablePattern("".join(parts), repeated + begins_anywhere, ways.count, of_ascii)


class _Ways:
    """How many ways there are through brackets and `|`."""

    def __init__(self) -> None:
        self._opened = [(0, 1)]  # ways of the alternatives before this one, and of this so far
        self._is_whole = True

    def take(self, sign: str) -> None:
        before, here = self._opened[-1]
        if sign.startswith("("):
            self._opened.append((0, 1))
        elif sign == "|":
            self._opened[-1] = (before + here, 1)
        elif sign == ")" and len(self._opened) > 1:
            self._opened.pop()
            outside, along = self._opened[-1]
            self._opened[-1] = (outside, along * (before + here))
        elif sign == ")":
            self._is_whole = False

    @property
    def are_closed(self) -> bool:
        return self._is_whole and len(self._opened) == 1

    @property
    def count(self) -> int:
        return sum(self._opened[0])


def _is_taken(repetition: re.Match[str]) -> bool:
    least = int(repetition["least"] or 0)
    most = int(repetition["most"] or least)
    return least <= most <= _MOST_TIMES


def _is_in_order(text: str) -> bool:
    """Whether no range in a set of characters goes backwards."""
    return all(first <= last for first, last in re.findall(r"([^\\])-([A-Za-z0-9])", text))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _compiled(source: str) -> re.Pattern[str]:
    return re.compile(source, re.ASCII)
