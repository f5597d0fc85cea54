"""`--where`: a condition over a record, answered without the engine where it is plain.

Most conditions people write are comparisons of one field with one value, joined by `&&`. Those
are answered here, in a fraction of the engine's time; what is not plain the engine answers,
after the plain parts have said that it may hold.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from megabot_cli.recording.expression import Expression, Vocabulary
from megabot_cli.recording.literals import Literals, in_payload, in_record
from megabot_cli.recording.record import Record

_OF_RECORD: Final = (
    "n", "t", "kind", "direction", "client", "link", "session", "user", "id", "type", "reply_to",
    "opcode", "size", "data", "redacted", "code", "reason", "by", "note", "lost", "lost_bytes",
)  # fmt: skip
_OF_MESSAGE: Final = ("payload", "metadata", "timestamp", "text")
_NUMBERS: Final = frozenset({"n", "t", "size", "code", "lost", "lost_bytes", "timestamp"})

RECORD_WORDS: Final = Vocabulary(
    fields=(*_OF_RECORD, *_OF_MESSAGE),
    sample={
        **{name: (1 if name in _NUMBERS else "a") for name in (*_OF_RECORD, "text", "timestamp")},
        "redacted": ["$.payload"],
    },
    open_fields=frozenset({"payload", "metadata"}),
    example='type == "error" && payload.code >= 500',
)

_any_json = msgspec.json.Decoder()

_FIELD = r"(?P<field>[a-z_]+(?:\.[A-Za-z_]\w*)*)"
_TEXT = r"(?:\"(?P<double>[^\"\\]*)\"|'(?P<single>[^'\\]*)')"
_COMPARISON = re.compile(
    rf"\s*{_FIELD}\s*(?P<sign>==|!=|<=|>=|<|>)\s*(?:{_TEXT}|(?P<number>-?\d{{1,15}}))\s*\Z"
)
_CALL = re.compile(rf"\s*{_FIELD}\.(?P<call>contains|startsWith|endsWith)\(\s*{_TEXT}\s*\)\s*\Z")
_PIECE = re.compile(
    r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|&&|\|\||[()\[\]{}?:]|[^\"'&|()\[\]{}?:]+|."
)
_SIGNS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CALLS: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": lambda text, part: part in text,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
}
MISSING: Final = object()

Question = Callable[["Values"], bool]


class Condition:
    """A condition that was understood."""

    def __init__(self, source: str) -> None:
        """BadData when it cannot be; its text shows the place with a mark under the column."""
        self._expression = Expression(source, RECORD_WORDS)
        self._of_record = tuple(self.fields & frozenset(_OF_RECORD))
        self._of_message = tuple(self.fields & frozenset(_OF_MESSAGE))
        parts = [_part(part) for part in _split(source, "&&")]
        self._plain = [part.question for part in parts if part is not None]
        self._whole = len(self._plain) == len(parts)
        self._literals = [each for part in parts if part is not None for each in part.literals]

    @property
    def fields(self) -> frozenset[str]:
        """What it speaks of."""
        return self._expression.fields

    @property
    def is_plain(self) -> bool:
        """Whether it is answered without the engine, in a time that has a bound."""
        return self._whole

    def literals(self) -> list[Literals]:
        """What stands in the line of every record of which the condition holds."""
        return self._literals

    def holds(self, record: Record) -> bool:
        """Whether it is true of the record. What cannot be said of it does not hold."""
        values = Values(record)
        for question in self._plain:
            if not question(values):
                return False
        return self._whole or self._expression.holds(self._named(values))

    def values_of(self, record: Record) -> dict[str, Any]:
        """What the engine is told of a record."""
        return self._named(Values(record))

    def _named(self, values: Values) -> dict[str, Any]:
        record = values.record
        named = {name: getattr(record, name) for name in self._of_record}
        for name in self._of_message:
            named[name] = values.of(name)
        return named


class Values:
    """What a condition may ask of one record; the message is decoded when that is asked."""

    __slots__ = ("_message", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self._message: Any = MISSING

    def of(self, field: str) -> Any:
        if field in _OF_MESSAGE:
            return self._of_message(field)
        return getattr(self.record, field)

    def _of_message(self, field: str) -> Any:
        if self._message is MISSING:
            self._message = _decoded(self.record.data)
        message = self._message
        if not isinstance(message, dict):
            return self.record.data if field == "text" else None
        if field != "text":
            return message.get(field)
        payload = message.get("payload", message)
        if isinstance(payload, dict):
            for name in ("content", "chunk", "message"):
                if isinstance(payload.get(name), str):
                    return payload[name]
        return ""


def _decoded(data: str | None) -> Any:
    if data is None:
        return None
    try:
        return _any_json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


class _Plain(msgspec.Struct, frozen=True):
    question: Question
    literals: tuple[Literals, ...] = ()


def _part(source: str) -> _Plain | None:
    """The question that a part of a condition asks, if no engine is needed to answer it.

    Plain parts joined by `||` are such a question too. Nothing here is negated: then what
    cannot be answered and what is not so come to the same.
    """
    choices = _split(source, "||")
    if len(choices) == 1:
        inner = source.strip()
        if inner.startswith("(") and inner.endswith(")") and inner[1:-1] != source:
            return _bracketed(inner)
        return _plain(source)
    plain = [_all_of(choice) for choice in choices]
    if any(each is None for each in plain):
        return None
    return _Plain(_either([each.question for each in plain if each is not None]))


def _bracketed(source: str) -> _Plain | None:
    """What stands in brackets, if they belong to each other."""
    inner = source[1:-1]
    depth = 0
    for piece in _PIECE.findall(inner):
        depth += (piece == "(") - (piece == ")")
        if depth < 0:
            return None
    return _all_of(inner)


def _all_of(source: str) -> _Plain | None:
    """Parts joined by `&&`, all of them plain."""
    plain = [_part(part) for part in _split(source, "&&")]
    if any(each is None for each in plain):
        return None
    if len(plain) == 1:
        return plain[0]
    question = _both([each.question for each in plain if each is not None])
    literals = tuple(literal for each in plain if each is not None for literal in each.literals)
    return _Plain(question, literals)


def _either(questions: list[Question]) -> Question:
    first, *rest = questions
    if not rest:
        return first
    other = _either(rest)
    return lambda values: first(values) or other(values)


def _both(questions: list[Question]) -> Question:
    first, *rest = questions
    if not rest:
        return first
    other = _both(rest)
    return lambda values: first(values) and other(values)


def _plain(part: str) -> _Plain | None:
    """The question that a part of a condition asks, if it is a single comparison."""
    compared = _COMPARISON.match(part)
    called = None if compared is not None else _CALL.match(part)
    found = compared or called
    if found is None:
        return None
    path = found["field"].split(".")
    if path[0] not in RECORD_WORDS.fields or (len(path) > 1 and path[0] not in _OF_MESSAGE[:2]):
        return None
    text = found["double"] if found["double"] is not None else found["single"]
    if called is not None:
        part_of = Literals((text,), in_payload=path[0] in _OF_MESSAGE)
        literals = (*_named(path), part_of)
        return _Plain(_calls(path, _CALLS[called["call"]], text), literals)
    assert compared is not None
    sign = _SIGNS[compared["sign"]]
    if compared["sign"] == "!=" and (text is None or len(path) > 1):
        return None  # whether what is not there differs, the engine knows
    if text is None:
        return _Plain(_compares_number(path, sign, int(compared["number"])), _named(path))
    if compared["sign"] not in ("==", "!="):
        return None
    question = _compares_text(path, sign, text)
    if compared["sign"] != "==" or path[0] == "data":
        return _Plain(question)
    if path[0] in _OF_RECORD:
        return _Plain(question, (in_record(path[0], text),))
    quoted = in_payload(text, quoted=path[0] in ("payload", "metadata"))
    return _Plain(question, (*_named(path), quoted))


def _named(path: list[str]) -> tuple[Literals, ...]:
    """Of a value in the message, the name it goes by."""
    return (in_payload(path[-1], quoted=True),) if len(path) > 1 else ()


def _compares_text(path: list[str], sign: Callable[[Any, Any], bool], text: str) -> Question:
    if len(path) == 1 and path[0] in _OF_RECORD:
        get = operator.attrgetter(path[0])
        return lambda values: sign(get(values.record), text)
    return lambda values: sign(value_at(values, path), text)


def _compares_number(path: list[str], sign: Callable[[Any, Any], bool], number: int) -> Question:
    if path[0] in _OF_RECORD:
        get = operator.attrgetter(path[0])

        def of_record(values: Values) -> bool:
            value = get(values.record)
            return value is not None and sign(value, number)

        return of_record

    def question(values: Values) -> bool:
        value = value_at(values, path)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and sign(value, number)

    return question


def _calls(path: list[str], call: Callable[[str, str], bool], text: str) -> Question:
    def question(values: Values) -> bool:
        value = value_at(values, path)
        return isinstance(value, str) and call(value, text)

    return question


def value_at(values: Values, path: Sequence[str]) -> Any:
    """What stands at `payload.code` and its like; MISSING where nothing does."""
    value = values.of(path[0])
    for name in path[1:]:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def _split(source: str, sign: str) -> list[str]:
    """The parts that `sign` joins at the top; all in one where what binds less joins them."""
    parts = [""]
    depth = 0
    for piece in _PIECE.findall(source):
        if piece in "([{":
            depth += 1
        elif piece in ")]}":
            depth -= 1
        if depth == 0 and (piece == "?" or (piece == "||" and sign == "&&")):
            return [source]
        if depth == 0 and piece == sign:
            parts.append("")
        else:
            parts[-1] += piece
    return parts
