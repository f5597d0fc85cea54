"""Conditions over a message, in the Common Expression Language. No socket, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import msgspec

from megabot_cli.errors import BadData
from megabot_cli.recording.expression_parts import Part, parts_of


class Vocabulary(msgspec.Struct, frozen=True):
    """What a condition may speak of.

    What an author may have mistyped is tried on `sample`. Of `open_fields`, which may hold
    anything, nothing can be said before a message comes: they are not in it. `loose_fields` are
    what the sample says in almost every message.
    """

    fields: tuple[str, ...]
    sample: dict[str, Any]
    open_fields: frozenset[str]
    example: str
    loose_fields: frozenset[str] = frozenset()


MESSAGE_WORDS = Vocabulary(
    fields=("id", "type", "payload", "metadata", "session", "user", "text", "nth"),
    sample={"id": "m1", "type": "chat_send", "session": "s", "user": "u", "text": "t", "nth": 1},
    open_fields=frozenset({"payload", "metadata"}),
    example='type == "chat_send" && text.contains("weather")',
)

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_OPERATOR = re.compile(r"\W|^_")
_MACRO_VARIABLE = re.compile(r"\.(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_TEXT = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_MATCHES = re.compile(rf"\.matches\(\s*(?P<pattern>r?(?:{_TEXT.pattern}))\s*\)")
_FUNCTIONS = frozenset(
    {"bytes", "contains", "double", "duration", "endsWith", "getDate", "getDayOfMonth",
     "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes",
     "getMonth", "getSeconds", "int", "matches", "size", "startsWith", "string",
     "timestamp", "type", "uint"}
)  # fmt: skip

# All that an evaluation can end with: a key or index that is not there, types that do not go
# together, a pattern or number that is none.
# Of what it is asked of: all names are known by then.
_NO_METHOD = "Undefined variable or function"
_UNANSWERABLE = (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError)


class Expression:
    """A condition that was understood. `fields` are those of its vocabulary that it names."""

    def __init__(self, source: str, words: Vocabulary = MESSAGE_WORDS) -> None:
        """Raises BadData; its text shows the place with a mark under the column."""
        import cel  # brings a terminal of its own, 0.25 s: only who has a condition pays for it

        self.source = source
        self._words = words
        try:
            self._program = cel.compile(source)
        except ValueError as fault:
            raise _not_understood(source, str(fault), words.example) from None
        local = set(_MACRO_VARIABLE.findall(source))
        named = [name for name in self._program.variables() if name not in local]
        _check_known(source, named, words.fields, "field")
        called = [name for name in self._program.functions() if not _OPERATOR.search(name)]
        _check_known(source, called, _FUNCTIONS, "function")
        _check_patterns(source)
        self.fields = frozenset(named)
        if not self.fields & words.open_fields:
            self._try_out()
        self._try_parts()

    def holds(self, values: dict[str, Any]) -> bool:
        """Whether it is true of a message. `values` has at least what `fields` names.

        What cannot be said of a message (a key that is not there, say) does not hold.
        """
        try:
            return self._program.execute(values) is True
        except _UNANSWERABLE:
            return False

    def _try_out(self) -> None:
        try:
            answer = self._program.execute(dict(self._words.sample))
        except _UNANSWERABLE as fault:
            raise self._wrong(fault, parts_of(self.source)) from None
        if not isinstance(answer, bool):
            raise BadData(
                f"The condition gives {type(answer).__name__}, not true or false: {self.source}",
                f"Compare it with something, as in: {self._words.example}",
            )

    def _try_parts(self) -> None:
        """What types say is wrong is wrong also where the sample does not come by."""
        whole = parts_of(self.source)
        for part in whole.all() if whole is not None else ():
            fault = self._fault_of(part, self._words.loose_fields)
            if fault is not None and (isinstance(fault, TypeError) or _NO_METHOD in str(fault)):
                raise self._wrong(fault, part)

    def _fault_of(self, part: Part, unsure: frozenset[str] = frozenset()) -> Exception | None:
        """What is wrong with a part by itself, as far as the sample tells without `unsure`."""
        import cel

        try:
            program = cel.compile(self.source[part.start : part.end])
            if not set(program.variables()) <= self._words.sample.keys() - unsure:
                return None
        except ValueError:
            return None
        try:
            program.execute(dict(self._words.sample))
        except _UNANSWERABLE as fault:
            return fault
        return None

    def _wrong(self, fault: Exception, part: Part | None) -> BadData:
        """The error that points at the part that is to blame, of one that fails."""
        reason = _reason_of(fault)
        if part is None:
            return BadData(
                f"{reason}, in the condition: {self.source}", f"An example: {self._words.example}"
            )
        part = part.blame(lambda each: self._fault_of(each) is not None)
        reason = _reason_of(self._fault_of(part) or fault)
        line_start = self.source.rfind("\n", 0, part.at) + 1
        return BadData(
            f"{reason} (column {part.at - line_start + 1}):\n{_marked(self.source, part.at)}"
        )


def _reason_of(fault: Exception) -> str:
    """The engine's own words, without its advice."""
    reason = str(fault).partition(". ")[0]
    if reason.startswith(_NO_METHOD):
        return f"There is no {reason.partition(': ')[2].strip(chr(39))}() of such a value"
    return reason


def _check_known(source: str, names: Iterable[str], known: Iterable[str], kind: str) -> None:
    unknown = [(_offset_of(source, name), name) for name in names if name not in known]
    if not unknown:
        return
    offset, name = min(unknown)
    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(sorted(known))}."
    message = f"There is no {kind} {name!r} (column {offset + 1})"
    raise BadData(f"{message}:\n{_marked(source, offset)}", hint)


def _check_patterns(source: str) -> None:
    """The engine reads a pattern when it meets a text, and one that is none matches nothing."""
    import cel

    quoted = [text.span() for text in _TEXT.finditer(source)]
    for call in _MATCHES.finditer(source):
        if any(start <= call.start() < end for start, end in quoted):
            continue  # somebody's words
        try:
            cel.evaluate(f"''.matches({call['pattern']})", {})
        except (RuntimeError, ValueError):
            at = call.start("pattern")
            message = f"That is no regular expression (column {at + 1})"
            raise BadData(
                f"{message}:\n{_marked(source, at)}", "See `man 7 megabot-filters`."
            ) from None


def _offset_of(source: str, name: str) -> int:
    """Where a name stands, texts in quotes left aside."""
    blanked = _TEXT.sub(lambda text: " " * len(text[0]), source)
    found = re.search(rf"(?<![\w.]){re.escape(name)}\b", blanked)
    found = found or re.search(rf"\b{re.escape(name)}\b", blanked)
    return found.start() if found else 0


def _not_understood(source: str, report: str, example: str) -> BadData:
    found = _PLACE.search(report)
    if found is None:
        return BadData(
            f"The condition cannot be understood: {source[:200]}", f"An example: {example}"
        )
    line, column, reason = int(found[1]), int(found[2]), _shortened(found[3])
    lines = source.splitlines() or [""]
    before = sum(len(each) + 1 for each in lines[: line - 1])
    return BadData(
        f"The condition cannot be understood at column {column}: {reason}\n"
        f"{_marked(source, before + column - 1)}",
        f"An example: {example}",
    )


def _shortened(reason: str) -> str:
    """The parser's own words, without the list of all it would have taken."""
    text = reason.removeprefix("Syntax error: ").partition(" expecting {")[0]
    text = text.replace("mismatched input '<EOF>'", "it ends too soon")
    return text.replace("'<EOF>'", "the end")


def _marked(source: str, offset: int) -> str:
    """The line that `offset` is in, and a mark under it."""
    start = source.rfind("\n", 0, offset) + 1
    line = source[start:].partition("\n")[0]
    return f"  {line}\n  {' ' * (offset - start)}^"
