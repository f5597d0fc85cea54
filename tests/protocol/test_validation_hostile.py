"""What hostile and unlucky senders write gets a verdict too."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.messages import MESSAGE_TYPES, ToolCall
from megabot_cli.protocol.validation import (
    Message,
    Problem,
    check,
    read,
)
from tests.protocol.arbitrary import anything, json_values
from tests.protocol.samples import PAYLOADS, changed, message, problem_of


@pytest.mark.parametrize(
    "place",
    [
        '{"id":"m","type":"x","payload":%s}',
        '{"id":"m","type":"x","payload":1,"metadata":{"deep":%s}}',
        '{"id":"m","type":"x","payload":1,"metadata":%s}',
        '{"id":"m","type":"tool_call","payload":{"tool_name":"t","execution_id":"e",'
        '"parameters":{"deep":%s}}}',
        '{"id":"m","type":"batch","payload":{"messages":[%s]}}',
        "%s",
    ],
)
def test_a_hundred_thousand_levels_are_refused_not_followed(place: str) -> None:
    problem = problem_of(place % ("[" * 100_000 + "]" * 100_000))
    assert problem.code == 400


def test_a_text_with_too_many_levels_is_told_as_that() -> None:
    text = '{"id":"m","type":"x","payload":' + "[" * 50_000 + "]" * 50_000 + "}"
    assert problem_of(text).rule == "nesting"


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":"\xff","type":"x","payload":1}',
        b'{"id":"m","type":"x","payload":"\xff"}',
        b'{"id":"m","type":"x","payload":1,"unknown":"\xc3"}',
        b'{"id":"m","type":"chat_send","payload":{"content":"\xed\xa0\xbd"}}',
        b'{"id":"m","type":"x","payload":"\xc0\xaf"}',
        '{"id":"m","type":"x","payload":"\ud83d"}',
    ],
)
def test_what_is_not_utf8_is_refused_wherever_it_stands(text: bytes | str) -> None:
    problem = problem_of(text)
    assert (problem.path, problem.expected) == ("$", "UTF-8 text")


@pytest.mark.parametrize("escape", ["\\ud83d", "\\uDE00", "\\ud83d\\ud83d", "\\ude00\\ud83d"])
def test_half_a_surrogate_pair_is_refused_as_that(escape: str) -> None:
    text = f'{{"id":"m","type":"chat_send","payload":{{"content":"cut {escape}"}}}}'
    for form in (text, text.encode()):
        assert problem_of(form).got == "half a surrogate pair"


def test_a_whole_surrogate_pair_in_escapes_is_a_character() -> None:
    assert check('{"id":"m","type":"chat_send","payload":{"content":"\\ud83d\\ude00"}}') is None


def test_integers_beyond_64_bits_are_numbers() -> None:
    found = read(changed("tool_call", parameters={"n": 2**200}))
    assert isinstance(found, Message)
    assert isinstance(found.payload, ToolCall)
    assert found.payload.parameters == {"n": 2**200}


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "-1e999"])
def test_a_time_that_no_float_holds_is_refused_with_its_place(number: str) -> None:
    problem = problem_of(f'{{"id":"m","type":"x","payload":1,"timestamp":{number}}}')
    assert problem.path == "$.timestamp"


def test_a_number_nobody_reads_may_have_any_length() -> None:
    assert check(f'{{"id":"m","type":"x","payload":{{"n":{"9" * 5000}}}}}') is None


def test_a_refusal_quotes_nothing_that_a_person_wrote() -> None:
    secret = "hunter2" * 3
    texts = [
        changed("chat_send", content=secret * 1000),
        changed("chat_send", attachments=secret),
        changed("status_update", progress=secret),
        changed("tool_call", parameters=secret),
        message("session_join", {"session_id": [secret]}),
    ]
    assert all(secret[:7] not in str(problem_of(text)) for text in texts)


@given(anything)
def test_any_text_or_bytes_get_a_verdict(text: bytes | str) -> None:
    problem = check(text)
    if problem is not None:
        assert problem.code in {400, 413}
        assert problem.path.startswith("$")
        assert problem.expected
        assert problem.got
        assert problem.rule


@given(st.sampled_from(sorted(MESSAGE_TYPES)), json_values)
def test_any_payload_of_any_type_gets_a_verdict(name: str, payload: object) -> None:
    check(json.dumps({"id": "m", "type": name, "payload": payload}))


@given(st.sampled_from(sorted(MESSAGE_TYPES)), st.data())
def test_any_value_in_any_field_gets_a_verdict_that_names_the_field(
    name: str, data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(sorted(PAYLOADS[name])))
    text = changed(name, **{field: data.draw(json_values)})
    problem = check(text)
    if problem is not None:
        assert problem.path.startswith((f"$.payload.{field}", "$.payload"))


@given(anything)
def test_read_and_check_say_the_same(text: bytes | str) -> None:
    found = read(text)
    assert check(text) == (found if isinstance(found, Problem) else None)
