"""The part of the condition language (CEL) that is answered without its engine: reading it.

Comparisons, `&& || !`, brackets, arithmetic, `in` a list of values, `has()`, `size()` and the
calls that look into a text, `matches` where the pattern is plain. Whatever else stands in a
condition is not read but told apart, so that the engine answers it: nothing here guesses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from megabot_cli.recording.plain_pattern import PlainPattern, needed_texts, plain_patterns
from megabot_cli.recording.portable_pattern import PortablePattern, portable_pattern

MOST_DEEP: Final = 24  # brackets and signs in one another; no person writes more

Path = tuple[str, ...]


class Field(msgspec.Struct, frozen=True):
    """`size`, `payload.code`."""

    path: Path


class Constant(msgspec.Struct, frozen=True):
    """A text, a number, true, false or null. Numbers are such that a double holds them."""

    value: str | int | float | bool | None


class Size(msgspec.Struct, frozen=True):
    """`size(of)`, `of.size()`."""

    of: Field


class Sum(msgspec.Struct, frozen=True):
    """Two numbers joined by one of `+ - * / %`."""

    sign: str
    left: Value
    right: Value


class Has(msgspec.Struct, frozen=True):
    """`has(payload.code)`."""

    path: Path


class Called(msgspec.Struct, frozen=True):
    """`type.startsWith("chat_")` and its like."""

    call: str
    field: Field
    text: str


class Matched(msgspec.Struct, frozen=True):
    """`text.matches("^timed out")`."""

    field: Field
    patterns: tuple[PlainPattern, ...]  # one of them


class PerhapsMatched(msgspec.Struct, frozen=True):
    """`text.matches("[45].. failed")`: not where one of the texts is missing; else what the
    pattern says, and where there is none the engine."""

    field: Field
    needed: tuple[str, ...]
    pattern: PortablePattern | None


class Compared(msgspec.Struct, frozen=True):
    """Two values joined by one of `== != < <= > >=`; a constant stands on the right."""

    sign: str
    left: Value
    right: Value


class Among(msgspec.Struct, frozen=True):
    """`type in ["error", "chat_send"]`."""

    value: Value
    texts: frozenset[str]
    numbers: frozenset[int | float]


class Not(msgspec.Struct, frozen=True):
    """`!part`."""

    part: Answer


class All(msgspec.Struct, frozen=True):
    """Parts joined by `&&`."""

    parts: tuple[Answer, ...]


class Any(msgspec.Struct, frozen=True):
    """Parts joined by `||`."""

    parts: tuple[Answer, ...]


Value = Field | Constant | Size | Sum
Answer = (
    Field | Constant | Has | Called | Matched | PerhapsMatched | Compared | Among | Not | All | Any
)

CALLS: Final = ("contains", "startsWith", "endsWith")
_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_OPENS_INTO: Final = ("payload", "metadata")

_TOKEN = re.compile(
    r"\s*(?:"
    r"(?P<name>[A-Za-z_]\w*)(?![\w\"'])"  # r"raw" and b"bytes" are no text of this part
    r"|(?P<number>\d+\.\d{1,15}|\d{1,15})(?![\w.])"
    r"|(?P<text>\"[^\"\\\r\n]*\"(?!\")|'[^'\\\r\n]*'(?!'))"
    r"|(?P<odd>\"(?:\\.|[^\"\\\r\n])*\"(?!\")|'(?:\\.|[^'\\\r\n])*'(?!')|[?:{}])"
    r"|(?P<sign>&&|\|\||[=!<>]=|/(?!/)|[-<>!+*%()\[\],.])"
    r")",
    re.ASCII,
)


class _NotPlain(Exception):
    """Here stands what only the engine answers."""


class _Token(msgspec.Struct, frozen=True):
    kind: str
    text: str


def parts_of(source: str, names: Collection[str]) -> list[Answer | None]:
    """What `&&` joins at the top of a condition; None for a part that the engine must answer.

    `names` are the fields there are.
    """
    tokens = _tokens(source)
    if tokens is None:
        return [None]
    return [_read(part, names) for part in _split(tokens)]


def _tokens(source: str) -> list[_Token] | None:
    """None where something stands that may not even end where it seems to: a comment, say."""
    tokens = []
    at, end = 0, len(source.rstrip())
    while at < end:
        found = _TOKEN.match(source, at)
        if found is None or found.lastgroup is None:
            return None
        tokens.append(_Token(found.lastgroup, found[found.lastgroup]))
        at = found.end()
    return tokens


def _split(tokens: list[_Token]) -> list[list[_Token]]:
    """At each `&&` outside of brackets; not at all where what binds less stands outside too."""
    parts: list[list[_Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind not in ("name", "number", "text"):
            depth += (token.text in "([{") - (token.text in ")]}")
            if depth == 0 and token.text in ("||", "?"):
                return [tokens]
            if depth == 0 and token.text == "&&":
                parts.append([])
                continue
        parts[-1].append(token)
    return parts


def _read(tokens: list[_Token], names: Collection[str]) -> Answer | None:
    reading = _Reading(tokens, names)
    try:
        part = _answer(reading.either())
    except _NotPlain:
        return None
    return part if reading.is_done else None


class _Reading:
    """Reads tokens from left to right. Each method reads one rank of the language's signs."""

    def __init__(self, tokens: list[_Token], names: Collection[str]) -> None:
        self._tokens = tokens
        self._names = names
        self._at = 0
        self._depth = 0

    @property
    def is_done(self) -> bool:
        return self._at == len(self._tokens)

    def either(self) -> Answer | Value:
        parts = [self._both()]
        while self._take("||"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Any(tuple(map(_answer, parts)))

    def _both(self) -> Answer | Value:
        parts = [self._relation()]
        while self._take("&&"):
            parts.append(self._relation())
        return parts[0] if len(parts) == 1 else All(tuple(map(_answer, parts)))

    def _relation(self) -> Answer | Value:
        left = self._sum()
        if self._take_name("in"):
            return self._among(_value(left))
        sign = next((sign for sign in _TURNED if self._take(sign)), None)
        return left if sign is None else _compared(sign, _value(left), _value(self._sum()))

    def _among(self, value: Value) -> Among:
        self._need("[")
        texts: set[str] = set()
        numbers: set[int | float] = set()
        while not self._take("]"):
            if texts or numbers:
                self._need(",")
            element = self._sum()
            if not isinstance(element, Constant):
                raise _NotPlain
            if isinstance(element.value, str):
                texts.add(element.value)
            elif element.value is None or isinstance(element.value, bool):
                raise _NotPlain
            else:
                numbers.add(element.value)
        return Among(value, frozenset(texts), frozenset(numbers))

    def _sum(self) -> Answer | Value:
        left = self._product()
        while sign := self._one_of("+-"):
            left = self._joined(sign, left, self._product())
        return left

    def _product(self) -> Answer | Value:
        left = self._signed()
        while sign := self._one_of("*/%"):
            left = self._joined(sign, left, self._signed())
        return left

    def _joined(self, sign: str, left: Answer | Value, right: Answer | Value) -> Sum:
        self._deeper()  # for good: a long sum is deep on its left
        return Sum(sign, _value(left), _value(right))

    def _signed(self) -> Answer | Value:
        if self._take("!"):
            self._deeper()
            part = Not(_answer(self._signed()))
            self._depth -= 1
            return part
        if self._take("-"):
            number = self._single()
            if not isinstance(number, Constant) or type(number.value) not in (int, float):
                raise _NotPlain
            return Constant(-number.value)  # type: ignore[operator]
        return self._single()

    def _single(self) -> Answer | Value:
        if self._take("("):
            self._deeper()
            inner = self.either()
            self._depth -= 1
            self._need(")")
            return inner
        token = self._next()
        if token.kind == "text":
            return Constant(token.text[1:-1])
        if token.kind == "number":
            return Constant(float(token.text) if "." in token.text else int(token.text))
        if token.kind != "name":
            raise _NotPlain
        if token.text in _WORDS:
            return Constant(_WORDS[token.text])
        if self._take("("):
            return self._function(token.text)
        return self._field(token.text)

    def _function(self, name: str) -> Answer | Value:
        if name not in ("has", "size"):
            raise _NotPlain
        field = self._field(self._next().text)
        self._need(")")
        if not isinstance(field, Field) or (name == "has" and len(field.path) == 1):
            raise _NotPlain
        return Size(field) if name == "size" else Has(field.path)

    def _field(self, root: str) -> Answer | Value:
        """A field, with what is called on it."""
        if root not in self._names:
            raise _NotPlain
        path = [root]
        while self._take("."):
            token = self._next()
            if token.kind != "name" or token.text in _WORDS or token.text == "in":
                raise _NotPlain
            if self._take("("):
                return self._call(token.text, Field(tuple(path)))
            if root not in _OPENS_INTO or len(path) == MOST_DEEP:
                raise _NotPlain
            path.append(token.text)
        return Field(tuple(path))

    def _call(self, name: str, field: Field) -> Called | Matched | PerhapsMatched | Size:
        if name == "size":
            self._need(")")
            return Size(field)
        text = self._next()
        self._need(")")
        if name == "matches" and (source := _unescaped(text)) is not None:
            if (patterns := plain_patterns(source)) is not None:
                return Matched(field, patterns)
            needed, pattern = needed_texts(source), portable_pattern(source)
            if needed or pattern is not None:
                return PerhapsMatched(field, tuple(needed), pattern)
        if text.kind != "text":
            raise _NotPlain
        if name not in CALLS:
            raise _NotPlain
        return Called(name, field, text.text[1:-1])

    def _next(self) -> _Token:
        if self.is_done:
            raise _NotPlain
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, sign: str, kind: str = "sign") -> bool:
        if self.is_done:
            return False
        token = self._tokens[self._at]
        found = token.kind == kind and token.text == sign
        self._at += found
        return found

    def _take_name(self, name: str) -> bool:
        return self._take(name, "name")

    def _one_of(self, signs: str) -> str | None:
        return next((sign for sign in signs if self._take(sign)), None)

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise _NotPlain

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MOST_DEEP:
            raise _NotPlain


def _unescaped(token: _Token) -> str | None:
    """The text between the quotes; None where more is escaped than a backslash."""
    inside = token.text[1:-1]
    if token.kind == "text":
        return inside
    if token.kind != "odd" or token.text[0] not in "\"'":
        return None
    rest = inside.replace("\\\\", "")
    return None if "\\" in rest else inside.replace("\\\\", "\\")


def _compared(sign: str, left: Value, right: Value) -> Compared:
    if isinstance(left, Constant):
        sign, left, right = _TURNED[sign], right, left
    if isinstance(left, Constant):
        raise _NotPlain
    is_order = sign not in ("==", "!=")
    if is_order and isinstance(right, Constant) and isinstance(right.value, bool | None):
        raise _NotPlain
    return Compared(sign, left, right)


def _answer(node: Answer | Value) -> Answer:
    """What is true or false, or, being a field, may be."""
    if isinstance(node, Size | Sum):
        raise _NotPlain
    if isinstance(node, Constant) and not isinstance(node.value, bool):
        raise _NotPlain
    return node


def _value(node: Answer | Value) -> Value:
    if not isinstance(node, Field | Constant | Size | Sum):
        raise _NotPlain
    return node


def fields_in(node: Answer | Value) -> list[Path]:
    """The paths that it names, in their order."""
    if isinstance(node, Field | Has):
        return [node.path]
    return [path for each in inner_of(node) for path in fields_in(each)]


def inner_of(node: Answer | Value) -> tuple[Answer | Value, ...]:
    """What it is made of."""
    match node:
        case Field() | Has() | Constant():
            return ()
        case All() | Any():
            return node.parts
        case Compared() | Sum():
            return (node.left, node.right)
        case Not():
            return (node.part,)
        case Among():
            return (node.value,)
        case Size():
            return (node.of,)
        case _:
            return (node.field,)


def patterns_in(node: Answer | Value) -> list[Matched | PerhapsMatched]:
    """The patterns that texts are held against in it."""
    if isinstance(node, Matched | PerhapsMatched):
        return [node]
    if isinstance(node, All | Any):
        return [each for part in node.parts for each in patterns_in(part)]
    return patterns_in(node.part) if isinstance(node, Not) else []
