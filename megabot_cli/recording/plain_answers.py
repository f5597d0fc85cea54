"""The part of the condition language that is answered without its engine: answering it.

Every answer is the engine's. True and false are themselves; what cannot be said (a key that is
not there, types that do not go together, a number too large) is MISSING, which `&&` and `||`
pass over where the other side decides. What is rare and not certain here raises Unsure.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from megabot_cli.recording import plain_syntax as syntax
from megabot_cli.recording.plain_pattern import is_any_found
from megabot_cli.recording.portable_pattern import PortablePattern
from megabot_cli.recording.record import Record


class Unsure(Exception):
    """Only the engine can tell of this record."""


MISSING: Final = object()

Ask = Callable[[Record], Any]
Said = Callable[[Record, str], Any]
"""What the message of a record says of `payload`, `metadata`, `timestamp` or `text`."""

_LARGEST: Final = 2**63 - 1
_SMALLEST: Final = -(2**63)
_SURE: Final = 2**53  # up to here a double tells all whole numbers apart
_SIGNS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CALLS: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": operator.contains,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
}
_OF_MESSAGE: Final = frozenset({"payload", "metadata", "timestamp", "text"})


def answer_of(node: syntax.Answer, said: Said) -> Ask:
    """How to ask it: the answer is True, False, or anything else for what cannot be said."""
    if isinstance(node, syntax.All):
        return _all([answer_of(part, said) for part in node.parts])
    if isinstance(node, syntax.Any):
        return _any([answer_of(part, said) for part in node.parts])
    if isinstance(node, syntax.Not):
        return _not(answer_of(node.part, said))
    if isinstance(node, syntax.Compared):
        return _compared(node, said)
    if isinstance(node, syntax.Among):
        return _among(_value_of(node.value, said), node.texts, node.numbers)
    if isinstance(node, syntax.Called):
        return _called(at_path(node.field.path, said), _CALLS[node.call], node.text)
    if isinstance(node, syntax.Matched):
        return _of_text(at_path(node.field.path, said), partial(is_any_found, node.patterns))
    if isinstance(node, syntax.PerhapsMatched):
        return _of_text(
            at_path(node.field.path, said), partial(_perhaps, node.needed, node.pattern)
        )
    if isinstance(node, syntax.Has):
        return _has(at_path(node.path[:-1], said), node.path[-1])
    return _value_of(node, said)


def _value_of(node: syntax.Value, said: Said) -> Ask:
    if isinstance(node, syntax.Constant):
        value = node.value
        return lambda record: value
    if isinstance(node, syntax.Size):
        return _size(at_path(node.of.path, said))
    if isinstance(node, syntax.Field):
        return at_path(node.path, said)
    left, right = _value_of(node.left, said), node.right
    divisor = right.value if isinstance(right, syntax.Constant) else None
    if node.sign == "%" and type(divisor) is int and divisor > 0:
        return _rest_of(left, divisor)
    return _sum(node.sign, left, _value_of(right, said))


def at_path(path: syntax.Path, said: Said) -> Ask:
    """What stands at `payload.code` and its like; MISSING where nothing does."""
    root, *names = path
    if root not in _OF_MESSAGE:
        return operator.attrgetter(root)
    if not names:
        return lambda record: said(record, root)
    if len(names) == 1:
        name = names[0]

        def below(record: Record) -> Any:
            holder = said(record, root)
            return holder.get(name, MISSING) if type(holder) is dict else MISSING

        return below

    def at(record: Record) -> Any:
        value = said(record, root)
        for name in names:
            if type(value) is not dict or name not in value:
                return MISSING
            value = value[name]
        return value

    return at


def _all(parts: list[Ask]) -> Ask:
    def ask(record: Record) -> Any:
        answer: Any = True
        for part in parts:
            said = part(record)
            if said is False:
                return False
            if said is not True:
                answer = MISSING
        return answer

    return ask


def _any(parts: list[Ask]) -> Ask:
    def ask(record: Record) -> Any:
        answer: Any = False
        for part in parts:
            said = part(record)
            if said is True:
                return True
            if said is not False:
                answer = MISSING
        return answer

    return ask


def _not(part: Ask) -> Ask:
    def ask(record: Record) -> Any:
        said = part(record)
        return said is False if said is True or said is False else MISSING

    return ask


def _has(holder_of: Ask, name: str) -> Ask:
    def ask(record: Record) -> Any:
        holder = holder_of(record)
        return name in holder if type(holder) is dict else MISSING

    return ask


def _called(value_of: Ask, call: Callable[[str, str], bool], text: str) -> Ask:
    def ask(record: Record) -> Any:
        value = value_of(record)
        return call(value, text) if type(value) is str else MISSING

    return ask


def _of_text(value_of: Ask, found: Callable[[str], bool | None]) -> Ask:
    """What `found` says of a text; None is for the engine."""

    def ask(record: Record) -> Any:
        value = value_of(record)
        if type(value) is not str:
            return MISSING
        answer = found(value)
        if answer is None:
            raise Unsure
        return answer

    return ask


def _perhaps(needed: tuple[str, ...], pattern: PortablePattern | None, text: str) -> bool | None:
    """False where one of them is missing; None where nobody but the engine can tell."""
    for each in needed:
        if each not in text:
            return False
    return None if pattern is None else pattern.is_found(text)


def _among(value_of: Ask, texts: frozenset[str], numbers: frozenset[int | float]) -> Ask:
    def ask(record: Record) -> Any:
        value = value_of(record)
        if type(value) is str:
            return value in texts
        if value is MISSING:
            return MISSING
        if type(value) is float:
            return value in numbers
        return type(value) is int and _sure(value) in numbers

    return ask


def _compared(node: syntax.Compared, said: Said) -> Ask:
    value_of, sign = _value_of(node.left, said), _SIGNS[node.sign]
    is_order = node.sign not in ("==", "!=")
    if not isinstance(node.right, syntax.Constant):
        return _with_value(value_of, _value_of(node.right, said), sign, is_order=is_order)
    other = node.right.value
    if isinstance(other, str):
        return _with_text(value_of, other, sign, is_order=is_order)
    if other is None or isinstance(other, bool):
        return _with_word(value_of, other, is_same=node.sign == "==")
    return _with_number(value_of, other, sign, is_order=is_order)


def _with_text(
    value_of: Ask, text: str, sign: Callable[[Any, Any], bool], *, is_order: bool
) -> Ask:
    if is_order:

        def in_order(record: Record) -> Any:
            value = value_of(record)
            return sign(value, text) if type(value) is str else MISSING

        return in_order

    def ask(record: Record) -> Any:
        value = value_of(record)
        return MISSING if value is MISSING else sign(value, text)

    return ask


def _with_word(value_of: Ask, word: bool | None, *, is_same: bool) -> Ask:
    def ask(record: Record) -> Any:
        value = value_of(record)
        return MISSING if value is MISSING else (value is word) is is_same

    return ask


def _with_number(
    value_of: Ask, number: float, sign: Callable[[Any, Any], bool], *, is_order: bool
) -> Ask:
    differs, is_whole = sign is operator.ne, isinstance(number, int)

    def ask(record: Record) -> Any:
        value = value_of(record)
        if type(value) is int:
            return sign(value if is_whole else _sure(value), number)
        if type(value) is float:
            return sign(value, number)
        return MISSING if is_order or value is MISSING else differs

    return ask


def _with_value(
    left_of: Ask, right_of: Ask, sign: Callable[[Any, Any], bool], *, is_order: bool
) -> Ask:
    differs = sign is operator.ne

    def ask(record: Record) -> Any:
        left, right = left_of(record), right_of(record)
        if left is MISSING or right is MISSING:
            return MISSING
        kind = type(left)
        if kind is type(right):
            if kind is str:
                return sign(left, right)
            if kind is int:
                return sign(_sure(left), _sure(right))
        elif not is_order and (left is None or right is None):
            return differs
        raise Unsure

    return ask


def _sure(number: int) -> int:
    if -_SURE <= number <= _SURE:
        return number
    raise Unsure


def _size(value_of: Ask) -> Ask:
    def ask(record: Record) -> Any:
        value = value_of(record)
        if type(value) is str:
            # The engine counts the bytes of a text.
            return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
        return len(value) if type(value) in (dict, list) else MISSING

    return ask


def _sum(sign: str, left_of: Ask, right_of: Ask) -> Ask:
    join, divides = _JOINS[sign], sign in "/%"

    def ask(record: Record) -> Any:
        left, right = left_of(record), right_of(record)
        if type(left) is int and type(right) is int:
            if not (_SMALLEST <= left <= _LARGEST and _SMALLEST <= right <= _LARGEST):
                raise Unsure  # to the engine those are numbers of another type
            if divides and (right == 0 or (right == -1 and left == _SMALLEST)):
                return MISSING
            joined = join(left, right)
            return joined if _SMALLEST <= joined <= _LARGEST else MISSING
        if left is MISSING or right is MISSING or left is None or right is None:
            return MISSING
        raise Unsure

    return ask


def _rest_of(left_of: Ask, divisor: int) -> Ask:
    """`_sum` of the sign `%` where nothing can go wrong on the right."""

    def ask(record: Record) -> Any:
        left = left_of(record)
        if type(left) is int:
            if 0 <= left <= _LARGEST:
                return left % divisor
            if _SMALLEST <= left < 0:
                return -(-left % divisor)
            raise Unsure
        if left is MISSING or left is None:
            return MISSING
        raise Unsure

    return ask


def _quotient(left: int, right: int) -> int:
    """Cut off towards nought, as the engine does; `//` goes down."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _rest(left: int, right: int) -> int:
    """Of `_quotient`: it has the sign of `left`."""
    rest = abs(left) % abs(right)
    return rest if left >= 0 else -rest


_JOINS: Final[dict[str, Callable[[int, int], int]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": _quotient, "%": _rest,
}  # fmt: skip
