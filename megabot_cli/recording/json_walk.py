"""Find the keys and values of a JSON text where they stand in it, without decoding the whole.

Never fails: torn or broken JSON gives what can be made out, because a secret in it is a
secret all the same.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec

# Possessive: a text of one megabyte without a closing quote is read once, not squared.
_TOKEN = re.compile(
    r'"(?P<inside>(?:[^"\\]++|\\.|\\\Z)*+)"?|[{}\[\]:,]|[^\s"{}\[\]:,]++', re.DOTALL
)
_ESCAPE = re.compile(
    r"\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u(?P<code>[0-9a-fA-F]{4})|\\(?P<short>.)",
    re.DOTALL,
)
_SHORT: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_PLAIN_NAME = re.compile(r"[A-Za-z_$][\w$-]*\Z")
_LONGEST_NAME = 80  # of a key, in a path: a path is for people
_DEEPEST_PATH = 100
_NAMING: Final = ("name", "key")


class Unescaped(msgspec.Struct):
    """The text that a JSON string literal means, and where each character of it stands."""

    text: str
    _after: list[int]  # positions in `text` from which on …
    _shift: list[int]  # … the literal is this many characters ahead

    def place(self, position: int) -> int:
        """Where in the literal the character at `position` of `text` begins."""
        found = bisect_right(self._after, position)
        return position + (self._shift[found - 1] if found else 0)


def unescape(literal: str) -> Unescaped:
    """Read what stands between the quotes of a JSON string."""
    if "\\" not in literal:
        return Unescaped(literal, [], [])
    pieces: list[str] = []
    after: list[int] = []
    shift: list[int] = []
    at = length = 0
    for escape in _ESCAPE.finditer(literal):
        pieces.append(literal[at : escape.start()])
        pieces.append(_meaning(escape))
        length += escape.start() - at + 1
        at = escape.end()
        after.append(length)
        shift.append(at - length)
    pieces.append(literal[at:])
    return Unescaped("".join(pieces), after, shift)


def _meaning(escape: re.Match[str]) -> str:
    if escape["high"]:
        high, low = int(escape["high"], 16), int(escape["low"], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    if escape["code"]:
        return chr(int(escape["code"], 16))
    return _SHORT.get(escape["short"], escape["short"])


class Leaf(msgspec.Struct):
    """One key, or one value that holds no others, between `start` and `end` of the text.

    Those of a string leave its quotes out.
    """

    kind: Literal["key", "string", "scalar"]
    start: int
    end: int
    under_secret: bool


class _Frame:
    """One object or array that is open."""

    __slots__ = ("in_value", "is_object", "name", "names_secret", "secret", "secret_value")

    def __init__(self, *, is_object: bool, secret: bool) -> None:
        self.is_object = is_object
        self.secret = secret  # all in it is, because it lies under a secret key itself
        self.secret_value = secret  # the value that comes next is
        self.name: str | int = "" if is_object else 0
        self.in_value = not is_object
        self.names_secret = False  # it says in words what its `value` is

    def colon(self, key: str, *, secret: bool) -> None:
        self.name = key
        self.secret_value = self.secret or secret or (self.names_secret and key == "value")
        self.in_value = True

    def comma(self) -> None:
        self.secret_value = self.secret
        if self.is_object:
            self.in_value = False
        elif isinstance(self.name, int):
            self.name += 1


class Walk:
    """Gives every key and every value of a JSON text, in order.

    `is_secret` says of a key whether its value is a secret; then all inside that value is. So is
    the `value` of an object whose `name` or `key` says so before it, as lists of headers have it.
    Text that is no JSON gives the strings and words in it.
    """

    def __init__(self, text: str, is_secret: Callable[[str], bool]) -> None:
        self._text = text
        self._is_secret = is_secret
        self._frames = [_Frame(is_object=False, secret=False)]

    def names(self) -> list[str | int]:
        """The keys that lead to the leaf just given, innermost last; an array gives its index.

        Of a leaf deeper than a path is worth, only the outer ones.
        """
        return [frame.name for frame in self._frames[1:_DEEPEST_PATH]]

    def __iter__(self) -> Iterator[Leaf]:
        frames = self._frames
        string = ""
        for token in _TOKEN.finditer(self._text):
            sign = token[0][0]
            top = frames[-1]
            if sign == '"':
                string = token["inside"]
                kind: Literal["key", "string"] = "string" if top.in_value else "key"
                start, end = token.span("inside")
                yield Leaf(kind, start, end, top.in_value and top.secret_value)
                if top.in_value and top.name in _NAMING and len(string) <= _LONGEST_NAME:
                    top.names_secret = self._is_secret(unescape(string).text)
            elif sign in "{[":
                frames.append(_Frame(is_object=sign == "{", secret=top.secret_value))
            elif sign in "}]":
                if len(frames) > 1:
                    frames.pop()
            elif sign == ":":
                key = unescape(string).text
                top.colon(key, secret=self._is_secret(key))
            elif sign == ",":
                top.comma()
            else:
                yield Leaf("scalar", token.start(), token.end(), top.secret_value)


def path_of(names: Sequence[str | int]) -> str:
    """Write the keys that lead to a value as a JSON path: `$.payload.items[0].token`."""
    parts = ["$"]
    for name in names:
        if isinstance(name, int):
            parts.append(f"[{name}]")
        elif len(name) <= _LONGEST_NAME and _PLAIN_NAME.match(name):
            parts.append(f".{name}")
        else:
            # A key may hold half a surrogate pair, which no UTF-8 can say.
            whole = name[:_LONGEST_NAME].encode("utf-8", "replace").decode()
            parts.append(f"[{msgspec.json.encode(whole).decode()}]")
    return "".join(parts)
