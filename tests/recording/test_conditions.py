"""`--where`: what is answered without the engine is answered as the engine would."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

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
        ("size + 1", "not true or false"),
    ],
)
def test_what_is_no_condition_is_told_with_its_place(source: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        Condition(source)


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


words = st.sampled_from(["a", "ab", "b", "error", ""])
numbers = st.integers(-3, 3)
texts = words.map(lambda word: f'"{word}"')
fields = st.sampled_from(["type", "client", "text", "payload.name", "payload.deep.name"])
number_fields = st.sampled_from(["size", "code", "payload.count", "payload.deep.count"])
plain = st.one_of(
    st.builds("{} {} {}".format, fields, st.sampled_from(["==", "!="]), texts),
    st.builds(
        "{} {} {}".format,
        number_fields,
        st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
        numbers,
    ),
    st.builds(
        "{}.{}({})".format,
        fields,
        st.sampled_from(["contains", "startsWith", "endsWith"]),
        texts,
    ),
)
comparisons = st.one_of(
    plain,
    st.just("(size > 0 || code > 0)"),
    st.builds("({} || ({} && {}))".format, plain, plain, plain),
)
values = st.one_of(words, numbers, st.none(), st.booleans(), st.floats(-3, 3))
payloads = st.one_of(
    values,
    st.dictionaries(
        st.sampled_from(["name", "count", "deep", "content"]),
        st.one_of(values, st.dictionaries(st.sampled_from(["name", "count"]), values)),
    ),
)


@given(parts=st.lists(comparisons, min_size=1, max_size=3), payload=payloads, data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_plain_condition_is_answered_as_the_engine_answers_it(
    parts: list[str], payload: Any, data: st.DataObject
) -> None:
    source = " && ".join(parts)
    message = {"payload": payload} if data.draw(st.booleans()) else payload
    record = Record(
        n=1,
        t=0,
        kind="message",
        type=data.draw(st.none() | words),
        client=data.draw(st.none() | words),
        size=data.draw(st.none() | numbers),
        code=data.draw(st.none() | numbers),
        data=json.dumps(message),
    )
    try:
        condition = Condition(source)
    except BadData:
        return  # types that cannot go together are refused before any record comes
    expression = Expression(source, RECORD_WORDS)
    named = condition.values_of(record)
    assert condition.holds(record) is expression.holds(named)
    if condition.holds(record):
        line = encode_record(record).decode()
        for literals in condition.literals():
            assert not literals.can_be_sought or any(text in line for text in literals.texts)


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
