"""`--where`: a condition over a record, answered without the engine where it is plain.

Most conditions people write compare fields, add them up, look into texts. Those are answered
here (`plain_syntax` reads them, `plain_answers` answers), in a fraction of the engine's time,
which is then not even loaded. What is not plain the engine answers, after the plain parts have
said that it may hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, TypedDict

import msgspec

from megabot_cli.recording import plain_syntax as syntax
from megabot_cli.recording.expression import Expression, Vocabulary
from megabot_cli.recording.literals import Literals, in_payload, in_record
from megabot_cli.recording.plain_answers import Unsure, answer_of
from megabot_cli.recording.record import Record

_OF_RECORD: Final = (
    "n", "t", "kind", "direction", "client", "link", "session", "user", "id", "type", "reply_to",
    "opcode", "size", "data", "redacted", "code", "reason", "by", "note", "lost", "lost_bytes",
)  # fmt: skip
_OF_MESSAGE: Final = ("payload", "metadata", "timestamp", "text")
_NUMBERS: Final = frozenset({"n", "t", "size", "code", "lost", "lost_bytes", "timestamp"})
_SAMPLE: Final[dict[str, Any]] = {
    **{name: (1 if name in _NUMBERS else "a") for name in _OF_RECORD},
    "redacted": ["$.payload"],
}

RECORD_WORDS: Final = Vocabulary(
    fields=(*_OF_RECORD, *_OF_MESSAGE),
    sample={**_SAMPLE, "text": "a", "timestamp": 1},
    open_fields=frozenset({"payload", "metadata"}),
    example='type == "connection_error" && payload.code >= 500',
    loose_fields=frozenset({"timestamp"}),
)


class Condition:
    """A condition that was understood."""

    def __init__(self, source: str) -> None:
        """BadData when it cannot be; its text shows the place with a mark under the column."""
        self._source = source
        parts = syntax.parts_of(source, RECORD_WORDS.fields)
        plain = [part for part in parts if part is not None]
        self._whole = len(plain) == len(parts)
        patterns = [each for part in plain for each in syntax.patterns_in(part)]
        # Of a text with several lines the engine must tell where there is a gap.
        sure = [each for each in patterns if isinstance(each, syntax.Matched)]
        all_sure = len(sure) == len(patterns)
        gaps = any(pattern.gaps for each in sure for pattern in each.patterns)
        self._is_bounded = self._whole and all_sure and not gaps
        self._literals = [each for part in plain for each in _literals(part)]
        self.fields = frozenset(path[0] for part in plain for path in syntax.fields_in(part))
        # What only the engine can read only the engine can refuse.
        checked = self._whole and all(
            isinstance(each, syntax.Matched) or each.pattern is not None for each in patterns
        )
        if not checked or not _surely_makes_sense(plain, self.fields):
            self.fields = self._expression.fields
        self._of_record = tuple(self.fields & frozenset(_OF_RECORD))
        self._of_message = tuple(self.fields & frozenset(_OF_MESSAGE))
        self._message = Message(self._of_message)
        self._questions = [answer_of(part, self._message.of) for part in plain]

    @cached_property
    def _expression(self) -> Expression:
        """What the engine makes of it. To load the engine takes 0.25 s: only who needs it pays."""
        return Expression(self._source, RECORD_WORDS)

    @property
    def is_plain(self) -> bool:
        """Whether it is answered in a time that has a bound: seldom by the engine, if ever."""
        return self._is_bounded

    @property
    def record_fields(self) -> frozenset[str]:
        """What of a record it needs to be told."""
        return frozenset(self._of_record) | ({"data"} if self._of_message else frozenset())

    def prepare(self) -> None:
        """Load the engine now, for who cannot wait when a record comes that only it can judge."""
        self._expression  # noqa: B018

    def literals(self) -> list[Literals]:
        """What stands in the line of every record of which the condition holds."""
        return self._literals

    def holds(self, record: Record) -> bool:
        """Whether it is true of the record. What cannot be said of it does not hold."""
        try:
            for question in self._questions:
                if question(record) is not True:
                    return False
        except Unsure:
            return self._expression.holds(self.values_of(record))
        return self._whole or self._expression.holds(self.values_of(record))

    def values_of(self, record: Record) -> dict[str, Any]:
        """What the engine is told of a record."""
        named = {name: getattr(record, name) for name in self._of_record}
        for name in self._of_message:
            named[name] = self._message.of(record, name)
        return named


def _surely_makes_sense(parts: list[syntax.Answer], fields: frozenset[str]) -> bool:
    """Whether all that they ask speaks of what may be anything, or is true or false of an
    invented record."""
    is_open = bool(fields & RECORD_WORDS.open_fields)
    if "timestamp" in fields and not is_open:
        return False
    said, record = Message().of, Record(**_SAMPLE)
    try:
        return all(
            _may_be_asked(each)
            if _speaks_of_anything(each)
            else isinstance(answer_of(each, said)(record), bool)
            for part in parts
            for each in _questions_in(part)
        )
    except Unsure:
        return False


def _speaks_of_anything(node: syntax.Answer | syntax.Value) -> bool:
    anything = RECORD_WORDS.open_fields | RECORD_WORDS.loose_fields
    return any(path[0] in anything for path in syntax.fields_in(node))


def _may_be_asked(node: syntax.Answer | syntax.Value) -> bool:
    """Whether there is nothing in it that would be wrong whatever the message says."""
    if isinstance(node, syntax.Constant):
        return True
    if isinstance(node, syntax.Field) and len(node.path) == 1:
        return True
    return _speaks_of_anything(node) and all(map(_may_be_asked, syntax.inner_of(node)))


def _questions_in(part: syntax.Answer) -> Iterator[syntax.Answer]:
    """What it asks, each by itself: what is joined is not answered to its end."""
    if isinstance(part, syntax.All | syntax.Any):
        for each in part.parts:
            yield from _questions_in(each)
    elif isinstance(part, syntax.Not):
        yield from _questions_in(part.part)
    else:
        yield part


class Message:
    """What the messages of records say, each decoded once while it is asked about.

    With `names` only those parts of it are decoded: what nobody names is passed over, unread.
    """

    def __init__(self, names: Sequence[str] = _OF_MESSAGE) -> None:
        parts = TypedDict("parts", dict.fromkeys(names, Any), total=False)  # type: ignore[misc]
        kind: Any = Any if "text" in names else parts
        self._decode = msgspec.json.Decoder(kind).decode
        self._last: tuple[str | None, Any] = (None, None)

    def of(self, record: Record, field: str) -> Any:
        """One of its parts, None where it has it not; `text` is all of what is no JSON."""
        data = record.data
        asked, message = self._last
        if asked is not data:
            message = self._decoded(data)
            self._last = (data, message)
        if type(message) is not dict:
            return data if field == "text" else None
        if field != "text":
            return message.get(field)
        payload = message.get("payload", message)
        if isinstance(payload, dict):
            for name in ("content", "chunk", "message"):
                if isinstance(payload.get(name), str):
                    return payload[name]
        return ""

    def _decoded(self, data: str | None) -> Any:
        if data is None:
            return None
        try:
            return self._decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return None


def _literals(part: syntax.Answer) -> list[Literals]:
    """What must stand in the line of a record of which the part is true."""
    if isinstance(part, syntax.All):
        return [each for inner in part.parts for each in _literals(inner)]
    if isinstance(part, syntax.Any | syntax.Not):
        return []
    found = [in_payload(path[-1], quoted=True) for path in syntax.fields_in(part) if len(path) > 1]
    if isinstance(part, syntax.Called):
        found.append(Literals((part.text,), in_payload=part.field.path[0] in _OF_MESSAGE))
    elif isinstance(part, syntax.Matched):
        inside = part.field.path[0] in _OF_MESSAGE
        if len(part.patterns) == 1:
            pieces = part.patterns[0].pieces
            found += [Literals((each,), in_payload=inside) for each in pieces if each]
        else:  # of each way its longest text, if all have one
            texts = tuple(max(each.pieces, key=len) for each in part.patterns)
            found.append(Literals(texts if all(texts) else (), in_payload=inside))
    elif isinstance(part, syntax.PerhapsMatched):
        inside = part.field.path[0] in _OF_MESSAGE
        found += [Literals((each,), in_payload=inside) for each in part.needed]
    elif isinstance(part, syntax.Compared):
        constant = part.right.value if isinstance(part.right, syntax.Constant) else None
        if part.sign == "==" and isinstance(constant, str):
            found += _of_value(part.left, [constant])
    elif isinstance(part, syntax.Among) and not part.numbers:
        found += _of_value(part.value, sorted(part.texts))
    return found


def _of_value(node: syntax.Value, texts: list[str]) -> list[Literals]:
    """Of a field that has one of these values."""
    if not isinstance(node, syntax.Field) or node.path == ("data",):
        return []
    root = node.path[0]
    if root in _OF_RECORD:
        return [in_record(root, *texts)]
    each = [in_payload(text, quoted=root in ("payload", "metadata")) for text in texts]
    return [Literals(tuple(text for one in each for text in one.texts), in_payload=True)]
