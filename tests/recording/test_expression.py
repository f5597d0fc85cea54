"""Conditions over a message, and what is told about those that are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.errors import BadData
from megabot_cli.recording.expression import Expression

MESSAGE: dict[str, Any] = {
    "id": "m7",
    "type": "tool_call",
    "payload": {"tool_name": "deploy", "parameters": {"hosts": ["a", "b"]}},
    "metadata": {"reply_to": "m6"},
    "session": "sess_1",
    "user": "ada",
    "text": "Größe 12",
    "nth": 6,
}


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ('type == "tool_call" && user != "bob"', True),
        ('payload.tool_name == "deploy" && payload.parameters.hosts.size() == 2', True),
        ('payload.parameters.hosts.exists(host, host == "b")', True),
        ("nth % 3 == 0", True),
        ("nth < 6 || id == 'm8'", False),
        ("text.matches('ö.e [0-9]+$')", True),
        ("has(metadata.reply_to) && !has(metadata.trace)", True),
        ("metadata.trace == 'x'", False),
        ("payload.parameters.hosts[9] == 'x'", False),
        ("payload.tool_name > 3", False),
    ],
)
def test_a_condition_holds_or_not(source: str, holds: bool) -> None:
    assert Expression(source).holds(MESSAGE) is holds


MOMENT = "timestamp('2020-01-02T03:04:05Z')"


EVERY_FUNCTION = [
    ("bytes('x')", "b'x'"), ("double('1.5')", "1.5"), ("int('3')", "3"), ("uint(1)", "1u"),
    ("string(1)", "'1'"), ("type(1)", "type(2)"), ("size('ab')", "2"), ("'ab'.size()", "2"),
    ("'ab'.contains('b')", "true"), ("'ab'.startsWith('a')", "true"),
    ("'ab'.endsWith('b')", "true"), ("'ab'.matches('^a')", "true"),
    (MOMENT, MOMENT), ("duration('90s')", "duration('1m30s')"),
    (f"{MOMENT}.getDate()", "2"), (f"{MOMENT}.getDayOfMonth()", "1"),
    (f"{MOMENT}.getDayOfWeek()", "4"), (f"{MOMENT}.getDayOfYear()", "1"),
    (f"{MOMENT}.getFullYear()", "2020"), (f"{MOMENT}.getHours()", "3"),
    (f"{MOMENT}.getMilliseconds()", "0"), (f"{MOMENT}.getMinutes()", "4"),
    (f"{MOMENT}.getMonth()", "0"), (f"{MOMENT}.getSeconds()", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "gives"), EVERY_FUNCTION)
def test_every_function_that_is_named_in_a_hint_is_there(call: str, gives: str) -> None:
    assert Expression(f"{call} == {gives}").holds(MESSAGE)


def test_no_function_is_named_in_a_hint_that_is_not_there() -> None:
    with pytest.raises(BadData) as refused:
        Expression("lowerAscii(type) == 'x'")
    assert refused.value.hint is not None
    named = set(refused.value.hint.removeprefix("There are ").rstrip(".").split(", "))
    source = " ".join(call for call, _ in EVERY_FUNCTION)
    assert named == {name for name in named if f"{name}(" in source}


@pytest.mark.parametrize(
    ("source", "column", "said"),
    [
        ("size(nth) == 1", 1, "There is no size() of such a value"),
        ("nth > 1 && nth.size() == 1", 16, "There is no size() of such a value"),
        ("timestamp(nth) == timestamp('2020-01-01T00:00:00Z')", 1, "There is no timestamp() of"),
    ],
)
def test_a_function_of_what_has_none_is_not_called_unknown(
    source: str, column: int, said: str
) -> None:
    with pytest.raises(BadData) as refused:
        Expression(source)
    assert refused.value.message.startswith(said)
    assert f"(column {column})" in refused.value.message


def test_it_says_which_fields_it_names() -> None:
    named = Expression('type == "payload" && [nth].exists(each, each > 1)').fields
    assert named == {"type", "nth"}


@pytest.mark.parametrize(
    ("source", "column", "hint"),
    [
        ("type ==", 8, "An example"),
        ("type == 'a' && )", 16, "An example"),
        ("'typ' == tipe", 10, "Did you mean 'type'?"),
        ("text.contain('x')", 6, "Did you mean 'contains'?"),
        ("user == 'a'\n  && usr == 'b'", 18, "Did you mean 'user'?"),
    ],
)
def test_a_mistake_is_shown_at_its_column(source: str, column: int, hint: str) -> None:
    with pytest.raises(BadData) as caught:
        Expression(source)
    message = caught.value.message
    assert f"column {column}" in message
    _, line, mark = message.splitlines()
    assert line[mark.index("^")] if mark.index("^") < len(line) else source.endswith("==")
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("nth < 'a'", 5),
        ("nth > 1 && (text == 'x' || user + 3 == 'a')", 33),
        ("type == 'other' && nth > 'a'", 24),
        ("payload.x == 1 && -user == 'a'", 19),
        ("[1][3] == nth", 4),
        ("user.size(3) == 1", 6),
        ("int(text) == 1", 1),
        ("nth == 1 ?\n  user < 3 : false", 8),
    ],
)
def test_types_that_do_not_go_together_are_shown_where_they_meet(source: str, column: int) -> None:
    with pytest.raises(BadData) as caught:
        Expression(source)
    told, line, mark = caught.value.message.splitlines()
    assert f"(column {column}):" in told
    assert mark.index("^") == column + 1
    assert line.strip() in source


@pytest.mark.parametrize(
    "source",
    [
        "user.matches('[0-9]+') && int(user) > 3",
        "[nth].map(x, x * 2).exists(y, y == 2) || text < 'a'",
        "text.contains('''a'b''') || payload.a == r'\\d' // words, < and 'more'",
        "(nth > 1 ? 'a' : type) == 'a' && {'a': nth}['a'] == 1",
    ],
)
def test_what_depends_on_the_message_is_no_mistake(source: str) -> None:
    Expression(source)


@pytest.mark.parametrize(
    "source", ["nth % 3", "text", 'nth + "x" == text', "user == 3 + nth + user"]
)
def test_what_can_never_be_true_or_false_is_refused(source: str) -> None:
    with pytest.raises(BadData):
        Expression(source)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="typenhx ()[]{}.&|=!<>+-*/%?:,'\"\\0123456789ö\n", max_size=30))
def test_any_text_is_a_condition_or_told_to_be_none(source: str) -> None:
    try:
        expression = Expression(source)
    except BadData:
        return
    assert expression.holds(MESSAGE) in (True, False)
