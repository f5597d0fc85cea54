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
# Keys whose value says what the value beside it is, and those of that value.
_NAMING: Final = frozenset(("name", "key", "header", "field", "variable", "n", "k"))
_VALUES: Final = frozenset(("value", "val", "v"))
# What stands behind an option in a list of arguments and is its value, not the next one's name.
_OPTIONS_VALUE = re.compile(
    r"(?!-)(?!(?:password|token|secret|key|string|str|text|file|value)\Z).", re.I | re.DOTALL
)
_FLAT_PAIRS: Final = frozenset(("rawheaders", "rawtrailers", "header"))  # as Node.js has headers
# A row of names begins with one that is a secret's, too; a pair has no third, but for a flag.
_ENDS_PAIR = re.compile(r"\s*(?:\]|\Z|,\s*(?:true|false|null|\Z))")


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

    __slots__ = (
        "in_value", "is_object", "name", "option", "pairs", "said", "secret", "secret_value",
        "unnamed",
    )  # fmt: skip

    def __init__(self, *, is_object: bool, secret: bool, pairs: Literal["", "one", "many"]) -> None:
        self.is_object = is_object
        self.secret = secret  # all in it is, because it lies under a secret key itself
        self.secret_value = secret  # the value that comes next is
        self.name: str | int = "" if is_object else 0
        self.in_value = not is_object
        self.pairs = pairs  # of an array: it may be a name and its value, or many of them
        self.said = ""  # the secret's name, where it is said in words what its value is
        self.unnamed: tuple[str, Leaf] | None = None  # a value that may yet be called a secret
        self.option = False  # of an array: the last was `--password`, say

    def colon(self, key: str, *, secret: bool) -> None:
        self.name = key
        self.secret_value = self.secret or secret or (self.said != "" and key.lower() in _VALUES)
        self.in_value = True

    def comma(self) -> None:
        self.secret_value = self.secret
        if isinstance(self.name, int):
            self.name += 1
            if self.name % 2 == 0:
                self.said = ""
            self.secret_value = self.secret or self.said != ""
        elif self.is_object:
            self.in_value = False

    def names_next(self) -> bool:
        """Whether the string that comes now says what another value is."""
        if isinstance(self.name, int):
            return (
                self.name == 0 if self.pairs == "one" else self.pairs != "" and self.name % 2 == 0
            )
        return self.in_value and self.name.lower() in _NAMING


class Walk:
    """Gives every key and every value of a JSON text, in order.

    `is_secret` says of a key whether its value is a secret; then all inside that value is. So is
    the `value` of an object whose `name` or `key` says so, as lists of headers have it, the second
    of a pair in a list of pairs, and what follows `--password` in a list of arguments. A value
    that stands before its name comes a second time. Text that is no JSON gives the strings and
    words in it.
    """

    def __init__(self, text: str, is_secret: Callable[[str], bool]) -> None:
        self._text = text
        self._is_secret = is_secret
        self._frames = [_Frame(is_object=False, secret=False, pairs="")]

    def names(self) -> list[str | int]:
        """The keys that lead to the leaf just given, innermost last; an array gives its index.

        Of a leaf deeper than a path is worth, only the outer ones.
        """
        return [frame.name for frame in self._frames[1:_DEEPEST_PATH]]

    def said(self) -> list[str]:
        """What the leaf just given is called in words beside it, and not by a key."""
        return [frame.said for frame in self._frames if frame.said]

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
                secret = top.in_value and self._holds_secret(top, token.end())
                if top.option:
                    secret = secret or _OPTIONS_VALUE.match(string) is not None
                    top.option = False
                if string[:2] == "--":
                    top.option = self._is_option(top, string)
                leaf = Leaf(kind, start, end, secret)
                yield leaf
                if top.names_next() and len(string) <= _LONGEST_NAME:
                    yield from self._name_of(top, unescape(string).text)
                elif top.is_object and top.in_value and not leaf.under_secret:
                    self._remember(top, leaf)
            elif sign in "{[":
                top.option = False
                pairs = self._pairs_in(top) if sign == "[" else ""
                frames.append(_Frame(is_object=sign == "{", secret=top.secret_value, pairs=pairs))
            elif sign in "}]":
                if len(frames) > 1:
                    frames.pop()
            elif sign == ":":
                key = unescape(string).text
                top.colon(key, secret=self._is_secret(key))
            elif sign == ",":
                top.comma()
            else:
                top.option = False
                leaf = Leaf(
                    "scalar", token.start(), token.end(), self._holds_secret(top, token.end())
                )
                yield leaf
                if top.is_object and not leaf.under_secret:
                    self._remember(top, leaf)

    def _is_option(self, top: _Frame, string: str) -> bool:
        """Whether a string in an array names what the next one is: `--password`."""
        is_name = isinstance(top.name, int) and len(string) <= _LONGEST_NAME
        return is_name and self._is_secret(string[2:])

    def _pairs_in(self, around: _Frame) -> Literal["", "one", "many"]:
        """What an array is that begins in `around`."""
        if isinstance(around.name, int):
            return "one"
        return "many" if around.name.replace("-", "").lower() in _FLAT_PAIRS else ""

    def _holds_secret(self, top: _Frame, end: int) -> bool:
        """Whether the value that ends here is a secret."""
        if not top.secret_value or top.secret or top.pairs != "one":
            return top.secret_value
        return _ENDS_PAIR.match(self._text, end) is not None

    def _name_of(self, top: _Frame, said: str) -> Iterator[Leaf]:
        """`said` is what a value is called; gives the one that stood before it."""
        if not self._is_secret(said):
            return
        top.said = said
        if top.unnamed is not None:
            naming, (top.name, leaf) = top.name, top.unnamed
            top.unnamed = None
            yield Leaf(leaf.kind, leaf.start, leaf.end, under_secret=True)
            top.name = naming

    def _remember(self, top: _Frame, leaf: Leaf) -> None:
        if isinstance(top.name, str) and not top.said and top.name.lower() in _VALUES:
            top.unnamed = top.name, leaf


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
