"""`--where`: what is answered without the engine is answered as the engine would."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.errors import BadData
from megabot_cli.recording.bounds import parse_place
from megabot_cli.recording.conditions import RECORD_WORDS, Condition
from megabot_cli.recording.expression import Expression
from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.layout import parse_fields, parse_template
from megabot_cli.recording.record import Record

ERROR = Record(
    n=7,
    t=1_500_000,
    kind="message",
    direction="to_client",
    client="c1",
    session="sess_1",
    id="m7",
    type="error",
    size=1200,
    data=json.dumps({"id": "m7", "type": "error", "payload": {"code": 503, "error": "too busy"}}),
)


@pytest.mark.parametrize(
    "source",
    [
        'type == "error"',
        "type == 'error' && size > 1000",
        "payload.code >= 500",
        'payload.error.contains("busy") && n == 7',
        "type != 'chat_send' && client.startsWith('c')",
        "payload.code == 503 || kind == 'close'",
        "!(direction == 'to_upstream')",
        "link == null",
        "user != 'bob'",
        "has(payload.error) && t >= 1000000",
        "text == 'nothing' || true",
        "data.contains('busy')",
    ],
)
def test_a_condition_holds_of_what_it_describes(source: str) -> None:
    assert Condition(source).holds(ERROR)


@pytest.mark.parametrize(
    "source",
    [
        'type == "chat_send"',
        "payload.code < 500",
        "payload.missing == 1",
        "payload.missing != 1",
        "code > 0",
        "user == 'bob'",
        "payload.code == '503'",
        "size > 1000 && size < 1100",
        "payload.error.endsWith('too')",
    ],
)
def test_it_does_not_hold_of_anything_else_nor_of_what_is_not_there(source: str) -> None:
    assert not Condition(source).holds(ERROR)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("typ == 'a'", "column 1"),
        ("size >> 3", "column 7"),
        ("kind == 'message' && (type == 'a' || size < '3')", "column 43"),
        ("payload.x > 3 && n < 'a'", "column 20"),
        ("size + 1", "not true or false"),
    ],
)
def test_what_is_no_condition_is_told_with_its_place(source: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        Condition(source)


def test_the_example_is_one_for_records() -> None:
    with pytest.raises(BadData) as refused:
        Condition("size + 1")
    example = (refused.value.hint or "").partition(": ")[2]
    assert Condition(example).fields == {"type", "payload"}


def test_a_message_that_is_no_json_is_asked_without_a_traceback() -> None:
    record = Record(n=1, t=0, kind="message", data="{not json")
    assert not Condition("payload.code == 1").holds(record)
    assert Condition("text.contains('not')").holds(record)
    assert not Condition("payload.code == 1").holds(Record(n=1, t=0, kind="close"))


def sought(source: str) -> list[str]:
    return [text for literals in Condition(source).literals() for text in literals.texts]


def test_it_names_the_texts_without_which_it_cannot_hold() -> None:
    source = 'type == "error" && payload.error.contains("busy") && size > 3 && user != "ann"'
    assert sought(source) == ['"error"', '\\"error\\"', "busy"]
    assert sought("payload.deep.code >= 500") == ['\\"code\\"']
    assert sought('type == "error" || size > 3') == []
    assert sought('(type == "a" || type == "b") && id == "m7"') == ['"m7"']
    assert sought('type in ["b", "a"] && has(payload.code)') == ['"a"', '"b"', '\\"code\\"']
    assert sought("!has(payload.code) && payload.a + payload.b > 3") == ['\\"a\\"', '\\"b\\"']


words = st.sampled_from(["a", "ab", "b", "error", "", "é"])
numbers = st.integers(-3, 3) | st.sampled_from([503, 10**15 - 1, -(10**15) + 1])
texts = words.map(lambda word: f'"{word}"')
fractions = st.sampled_from(["0.5", "-1.0", "2.0"])
constants = st.one_of(texts, numbers.map(str), fractions, st.sampled_from(["true", "null"]))
fields = st.sampled_from(
    ["type", "client", "text", "data", "size", "code", "n", "redacted", "payload", "timestamp",
     "payload.name", "payload.count", "payload.deep", "payload.deep.name", "payload.deep.count",
     "metadata.name"]
)  # fmt: skip
orders = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
terms = st.one_of(
    fields, numbers.map(str), st.builds("size({})".format, fields), fields.map("{}.size()".format)
)
sums = st.recursive(
    terms,
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/%"), inner),
    max_leaves=3,
)
calls = st.sampled_from(["contains", "startsWith", "endsWith"])
patterns = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "^", "^.*", ".+"]),
    st.lists(
        st.sampled_from(
            ["a", "é", "ab", " ", ".*", ".+", ".", "b?", "-", "(a|b)", "b+", "[a-c]", "(?:é)*"]
        ),
        max_size=5,
    ).map("".join),
    st.sampled_from(["", "$", ".*$", ".+"]),
).map(repr)
lists = st.lists(texts | numbers.map(str) | fractions, max_size=3).map(", ".join)
leaves = st.one_of(
    st.builds("{} {} {}".format, fields, orders, constants),
    st.builds("{} {} {}".format, sums, orders, sums | constants),
    st.builds("{} {} {}".format, constants, orders, fields),
    st.builds("{}.{}({})".format, fields, calls, texts),
    st.builds("{}.matches({})".format, fields, patterns),
    st.builds("{} in [{}]".format, sums, lists),
    fields.filter(lambda field: "." in field).map("has({})".format),
    fields,
    st.sampled_from(["true", "false"]),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("({} || {} && {})".format, inner, inner, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=6,
)
for_the_engine = st.sampled_from(
    ["type.matches('^[e-g]')", "[1, 2].exists(each, each == size)", "(size > 1 ? true : code > 0)"]
)
far_out = st.sampled_from(
    [2**53, 2**53 + 1, 2**63 - 1, -(2**63), -(2**63) + 1, 2**63, 2**64 - 1, 2**64, 1e300, 1.5]
)
values = st.one_of(words, numbers, st.none(), st.booleans(), st.floats(-3, 3), far_out)
payloads = st.one_of(
    values,
    st.lists(values, max_size=2),
    st.dictionaries(
        st.sampled_from(["name", "count", "deep", "content"]),
        st.one_of(values, st.dictionaries(st.sampled_from(["name", "count"]), values)),
    ),
)
sizes = st.none() | numbers | st.sampled_from([2**63 - 1, -(2**63)])
messages = st.fixed_dictionaries(
    {"payload": payloads}, optional={"timestamp": values, "metadata": payloads}
)
records = st.builds(
    Record,
    n=st.just(1),
    t=st.just(0),
    kind=st.just("message"),
    type=st.none() | words,
    client=st.none() | words,
    size=sizes,
    code=sizes,
    redacted=st.none() | st.lists(words, max_size=2),
    data=st.one_of(st.none(), words, (payloads | messages).map(json.dumps)),
)


@given(
    parts=st.lists(trees | trees | for_the_engine, min_size=1, max_size=3),
    asked=st.lists(records, min_size=5, max_size=5),
)
@settings(max_examples=250, deadline=None)
def test_any_condition_is_answered_as_the_engine_answers_it(
    parts: list[str], asked: list[Record]
) -> None:
    source = " && ".join(parts)
    try:
        expression = Expression(source, RECORD_WORDS)
    except BadData:  # types that cannot go together are refused before any record comes
        with pytest.raises(BadData):
            Condition(source)
        return
    condition = Condition(source)
    assert condition.fields == expression.fields
    for record in asked:
        holds = condition.holds(record)
        assert holds is expression.holds(condition.values_of(record)), record
        line = encode_record(record).decode() if holds else ""
        for literals in condition.literals() if holds else ():
            assert not literals.can_be_sought or any(text in line for text in literals.texts)


CORNERS = (-7, -3, -1, 0, 1, 2, 7, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, 1.5, None, "é")


@pytest.mark.parametrize("sign", "+-*/%")
def test_numbers_are_joined_as_the_engine_joins_them_at_every_corner(sign: str) -> None:
    sources = [f"payload.a {sign} 3 == {result}" for result in (-3, -2, -1, 0, 1, 2)]
    sources += [f"payload.a {sign} payload.b == {result}" for result in (-4, -3, -1, 0, 1, 3)]
    sources += [f"!(payload.a {sign} payload.b > 0)", f"payload.a {sign} size(payload.b) == 3"]
    conditions = [(Condition(source), Expression(source, RECORD_WORDS)) for source in sources]
    for a, b in product(CORNERS, CORNERS):
        data = json.dumps({"payload": {"a": a, "b": b}})
        record = Record(n=1, t=0, kind="message", data=data)
        for condition, expression in conditions:
            told = condition.values_of(record)
            assert condition.holds(record) is expression.holds(told), (expression.source, a, b)


def test_the_size_of_a_text_is_its_bytes() -> None:
    assert Condition("size(data) == 6 && data.size() == 6").holds(
        Record(n=1, t=0, kind="message", data="ö😀")
    )


@pytest.mark.parametrize(
    "source",
    [
        "size % 97 == 0 && n > 3",
        'size(data) > 300 || type in ["error"]',
        "has(payload.code) && (payload.code >= 500 || !(payload.busy))",
        "type.startsWith('chat_') && 2 * (payload.a + payload.b.c) - 1 != size / 3",
        "0.5 < payload.score && payload.parts.size() in [1, 2.5] && true && user != null",
    ],
)
def test_what_is_made_of_known_parts_alone_is_plain(source: str) -> None:
    assert Condition(source).is_plain


pieces = st.sampled_from(
    ["n", "size", "type", "payload", ".a", ".size()", "size(", "has(", "(", ")", "[", "]", " in ",
     "in", ",", "1", "0.5", "1u", "-", "!", "==", "<", "&&", "||", "+", "/", "//", "%", "'a'",
     '"b"', "r", "'''", '"', "\\", "?", ":", "\n", " ", "true", "null", "_", " == 1", "n > 3 && "]
)  # fmt: skip


@given(st.lists(pieces, max_size=12).map("".join))
@settings(max_examples=400, deadline=None)
def test_only_what_the_engine_understands_is_a_condition(source: str) -> None:
    try:
        expression = Expression(source, RECORD_WORDS)
    except BadData:
        with pytest.raises(BadData):
            Condition(source)
        return
    condition = Condition(source)
    assert condition.fields == expression.fields
    assert condition.holds(ERROR) is expression.holds(condition.values_of(ERROR))


@pytest.mark.parametrize(
    "source",
    ["type.matches('^(a+)+$')", "n > 3 && data.matches('a.*b')", "[1].exists(each, each == n)"],
)
def test_what_may_take_long_is_not_plain(source: str) -> None:
    assert not Condition(source).is_plain


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("payload.content.matches('(')", 25),
        ("text.contains('a') && text.matches(\"a**[\")", 36),
        ("payload.list.exists(each, each.matches(r'[z-a]'))", 40),
    ],
)
def test_a_pattern_that_is_none_is_told_where_it_stands(source: str, column: int) -> None:
    with pytest.raises(BadData) as refused:
        Condition(source)
    assert f"no regular expression (column {column})" in refused.value.message
    assert refused.value.message.endswith(f"\n  {' ' * (column - 1)}^")


def test_a_call_that_is_only_quoted_is_no_pattern() -> None:
    assert Condition("size(text) > 0 ? text == \"x.matches('(')\" : false").fields


def test_a_plain_condition_does_not_load_the_engine() -> None:
    program = """
import sys
from megabot_cli.recording.conditions import Condition
from megabot_cli.recording.record import Record
assert Condition("size % 97 == 0 && has(payload.code)").holds(
    Record(n=1, t=0, kind="message", size=97, data='{"payload": {"code": 1}}'))
print("cel" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr


def test_every_command_of_the_manual_is_understood() -> None:
    page = (Path(__file__).parents[2] / "man" / "megabot-filters.7").read_text()
    lines = [line.replace("\\-", "-") for line in page.splitlines() if line.startswith("megabot ")]
    assert len(lines) == 6
    for line in lines:
        words = shlex.split(line)
        for word, value in pairwise(words):
            if word in ("--where", "--fail-on"):
                Condition(value)
            elif word == "--fields":
                parse_fields(value)
            elif word == "--template":
                parse_template(value)
            elif word in ("--from", "--until"):
                parse_place(value, word)
