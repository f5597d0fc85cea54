"""Which part of a condition it is that goes wrong: a condition and all that it is made of.

Reads only what the engine has understood already, and gives up rather than guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

_TOKEN = re.compile(
    r"(?:[rRbB]{0,2})(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''"
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')"
    r"|(?:\d+\.\d+|\d+|\.\d+)(?:[eE][+-]?\d+)?\w*|\w+|//[^\n]*|\|\||&&|[=!<>]=|\S",
    re.DOTALL,
)
_BINARY: Final = (
    ("||",), ("&&",), ("==", "!=", "<=", ">=", "<", ">", "in"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
_MACROS: Final = frozenset(("all", "exists", "exists_one", "map", "filter", "has"))
_SHUT: Final = {"(": ")", "[": "]", "{": "}"}
_MOST_PARTS: Final = 300


class Part(msgspec.Struct):
    """From `start` to `end` of the source; `at` is where one would point to."""

    start: int
    end: int
    at: int
    inner: list[Part]

    def blame(self, fails: Callable[[Part], bool]) -> Part:
        """The smallest part that fails, of one that does."""
        for each in self.inner:
            if fails(each):
                return each.blame(fails)
        return self

    def all(self) -> Iterator[Part]:
        """The parts of it and then itself."""
        for each in self.inner:
            yield from each.all()
        yield self


def parts_of(source: str) -> Part | None:
    """The condition as a tree; None where this does not understand it."""
    reader = _Reader(source)
    try:
        whole = reader.choice()
    except (_NotUnderstood, RecursionError):
        return None
    return whole if reader.at_end and reader.read < _MOST_PARTS else None


class _NotUnderstood(Exception):
    """It is written in a way that nobody foresaw here."""


class _Reader:
    def __init__(self, source: str) -> None:
        self._tokens = [
            (token[0], token.start(), token.end())
            for token in _TOKEN.finditer(source)
            if not token[0].startswith("//")
        ]
        self.read = 0

    @property
    def at_end(self) -> bool:
        return self.read == len(self._tokens)

    def choice(self) -> Part:
        asked = self._binary(0)
        if self._next != "?":
            return asked
        at = self._take("?")
        first = self._binary(0)
        self._take(":")
        second = self.choice()
        return Part(asked.start, second.end, at, [asked, first, second])

    def _binary(self, level: int) -> Part:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self._next in _BINARY[level]:
            at = self._take()
            right = self._binary(level + 1)
            left = Part(left.start, right.end, at, [left, right])
        return left

    def _unary(self) -> Part:
        if self._next not in ("-", "!"):
            return self._member()
        at = self._take()
        inner = self._unary()
        return Part(at, inner.end, at, [inner])

    def _member(self) -> Part:
        whole = self._primary()
        while self._next in (".", "["):
            if self._next == "[":
                at = self._take()
                index = self.choice()
                whole = Part(whole.start, self._shut("]"), at, [whole, index])
                continue
            self._take()
            name, at = self._next, self._take()
            end = self._tokens[self.read - 1][2]
            inner = [whole]
            if self._next == "(":
                arguments, end = self._list()
                inner += [] if name in _MACROS else arguments
            whole = Part(whole.start, end, at, inner)
        return whole

    def _primary(self) -> Part:
        name, at = self._next, self._take()
        end = self._tokens[self.read - 1][2]
        if name == "(":
            inner = self.choice()
            return Part(at, self._shut(")"), inner.at, [inner])
        if name == "[":
            self.read -= 1
            inner_parts, end = self._list()
            return Part(at, end, at, inner_parts)
        if name[0] in "rRbB\"'" and name[-1] in "\"'":
            return Part(at, end, at, [])
        if re.match(r"\w", name) is None:
            raise _NotUnderstood
        if self._next == "(":
            arguments, end = self._list()
            return Part(at, end, at, [] if name in _MACROS else arguments)
        return Part(at, end, at, [])

    def _list(self) -> tuple[list[Part], int]:
        """What stands between brackets, and where they end."""
        shut = _SHUT[self._next]
        self._take()
        found: list[Part] = []
        while self._next != shut:
            found.append(self.choice())
            if self._next == ",":
                self._take()
        return found, self._shut(shut)

    @property
    def _next(self) -> str:
        return "" if self.at_end else self._tokens[self.read][0]

    def _take(self, expected: str | None = None) -> int:
        if self.at_end or expected not in (None, self._next):
            raise _NotUnderstood
        self.read += 1
        return self._tokens[self.read - 1][1]

    def _shut(self, sign: str) -> int:
        self._take(sign)
        return self._tokens[self.read - 1][2]
