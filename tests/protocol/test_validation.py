"""The table of rules, each with its boundary, and what a refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.messages import MAX_BATCH, MAX_CONTENT_UNITS, MESSAGE_TYPES, ToolCall
from megabot_cli.protocol.validation import (
    MAX_MESSAGE_BYTES,
    Message,
    Problem,
    check,
    read,
    utf16_units,
)
from tests.protocol.arbitrary import anything, json_values
from tests.protocol.samples import PAYLOADS, changed, message, without

ASTRAL = "😀"  # above U+FFFF: two units in JavaScript, four bytes in UTF-8


def problem_of(text: bytes | str) -> Problem:
    problem = check(text)
    assert problem is not None, f"valid: {text[:200]!r}"
    return problem


# -- the outer fields ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESSAGE_TYPES)
def test_the_least_message_of_a_type_is_valid(name: str) -> None:
    assert check(message(name)) is None


@pytest.mark.parametrize(
    ("text", "path", "got"),
    [
        ('{"type":"x","payload":1}', "$.id", "nothing"),
        ('{"id":"","type":"x","payload":1}', "$.id", "0 characters"),
        ('{"id":7,"type":"x","payload":1}', "$.id", "int"),
        ('{"id":null,"type":"x","payload":1}', "$.id", "null"),
        ('{"id":"m","payload":1}', "$.type", "nothing"),
        ('{"id":"m","type":"","payload":1}', "$.type", "0 characters"),
        ('{"id":"m","type":["x"],"payload":1}', "$.type", "array"),
        ('{"id":"m","type":"x"}', "$.payload", "nothing"),
        ('{"id":"m","type":"x","payload": null }', "$.payload", "null"),
        ('{"id":"m","type":"chat_send"}', "$.payload", "nothing"),
        ('{"id":"m","type":"chat_send","payload":null}', "$.payload", "null"),
        ('{"id":"m","type":"chat_send","payload":[]}', "$.payload", "array"),
        ('{"id":"m","type":"x","payload":1,"timestamp":"2022-01-01"}', "$.timestamp", "str"),
        ('{"id":"m","type":"x","payload":1,"timestamp":true}', "$.timestamp", "bool"),
        ('{"id":"m","type":"x","payload":1,"metadata":[]}', "$.metadata", "array"),
        (
            '{"id":"m","type":"x","payload":1,"metadata":{"session_id":1}}',
            "$.metadata.session_id",
            "int",
        ),
        ("[]", "$", "array"),
        ("7", "$", "int"),
        ("null", "$", "null"),
    ],
)
def test_outer_fields_are_required_and_typed(text: str, path: str, got: str) -> None:
    problem = problem_of(text)
    assert (problem.path, problem.got, problem.code) == (path, got, 400)


@pytest.mark.parametrize("payload", ["0", "false", '""', "[]", "{}", "-1.5e3", '"null"'])
def test_any_payload_but_null_does_for_a_type_nobody_declared(payload: str) -> None:
    assert check(f'{{"id":"m","type":"my.type","payload":{payload}}}') is None


@pytest.mark.parametrize("timestamp", ["0", "1640995200", "1640995200.123", "1640995200123"])
def test_a_timestamp_is_seconds_or_milliseconds(timestamp: str) -> None:
    assert check(f'{{"id":"m","type":"x","payload":1,"timestamp":{timestamp}}}') is None


def test_a_timestamp_may_be_missing_on_arrival() -> None:
    assert check('{"id":"m","type":"x","payload":1}') is None


def test_metadata_is_open() -> None:
    text = '{"id":"m","type":"x","payload":1,"metadata":{"user_id":"u","trace":{"a":[1]}}}'
    assert check(text) is None


def test_of_a_key_that_comes_twice_the_last_counts_as_in_javascript() -> None:
    twice = '{"id":"a","id":"m","type":"chat_send","type":"x","payload":null,"payload":1}'
    found = read(twice)
    assert isinstance(found, Message)
    assert (found.id, found.type) == ("m", "x")
    assert problem_of('{"id":"m","type":"x","payload":1,"payload":null}').path == "$.payload"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        '{"id":"m","type":"x","payload":1} trailing',
        '{"id":"m","type":"x","payload":NaN}',
        '{"id":"m","type":"x","payload":01}',
        '{"id":"m","type":"x","payload":"\\q"}',
        "{'id':'m'}",
        '\ufeff{"id":"m","type":"x","payload":1}',
    ],
)
def test_what_is_not_json_is_refused_as_that(text: str) -> None:
    problem = problem_of(text)
    assert (problem.path, problem.expected, problem.code) == ("$", "JSON", 400)


# -- the size on the wire -----------------------------------------------------------------------


def sized(size: int, filler: str = "a") -> str:
    head, tail = '{"id":"m","type":"x","payload":"', '"}'
    width = len(filler.encode())
    text = head + filler * ((size - len(head) - len(tail)) // width) + tail
    return text + " " * (size - len(text.encode()))


@pytest.mark.parametrize("filler", ["a", "é", ASTRAL])
def test_a_message_of_exactly_one_mebibyte_of_utf8_is_valid(filler: str) -> None:
    text = sized(MAX_MESSAGE_BYTES, filler)
    assert len(text.encode()) == 1024 * 1024
    assert check(text) is None
    assert check(text.encode()) is None


@pytest.mark.parametrize("filler", ["a", "é", ASTRAL])
def test_one_byte_more_is_too_large(filler: str) -> None:
    text = sized(MAX_MESSAGE_BYTES + 1, filler)
    for form in (text, text.encode()):
        problem = problem_of(form)
        assert (problem.code, problem.path, problem.rule) == (413, "$", "message size")
        assert problem.got == "1048577"


def test_a_limit_of_0_is_no_limit() -> None:
    assert check(sized(MAX_MESSAGE_BYTES + 1), max_bytes=0) is None


def test_the_size_is_told_before_what_else_is_wrong() -> None:
    assert problem_of("x" * (MAX_MESSAGE_BYTES + 1)).code == 413


# -- chat_send ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "a" * 10_000,
        "é" * 10_000,
        "\uffff" * 10_000,
        ASTRAL * 5_000,
        ASTRAL * 4_999 + "aa",
        " ",
    ],
)
def test_content_of_ten_thousand_javascript_characters_is_valid(content: str) -> None:
    assert check(changed("chat_send", content=content)) is None


@pytest.mark.parametrize("content", ["a" * 10_001, ASTRAL * 5_000 + "a", "é" * 10_001])
def test_one_javascript_character_more_is_refused_by_count(content: str) -> None:
    problem = problem_of(changed("chat_send", content=content))
    assert problem.path == "$.payload.content"
    assert problem.expected == "at most 10000 characters"
    assert problem.got == "10001"
    assert problem.rule == "chat_send content length"


def test_one_astral_character_too_many_counts_as_two() -> None:
    assert problem_of(changed("chat_send", content=ASTRAL * 5_001)).got == "10002"


def test_escaped_content_is_counted_as_the_text_it_stands_for() -> None:
    escaped = json.dumps({"content": ASTRAL * 5_000})
    assert check(f'{{"id":"m","type":"chat_send","payload":{escaped}}}') is None


@pytest.mark.parametrize("content", [None, 5, ["a"], {"text": "a"}, True])
def test_content_is_a_text(content: object) -> None:
    assert problem_of(changed("chat_send", content=content)).path == "$.payload.content"


def test_content_is_not_empty() -> None:
    problem = problem_of(changed("chat_send", content=""))
    assert str(problem) == (
        "$.payload.content: expected str of length >= 1, got 0 characters (declared bounds)"
    )


def test_content_must_be_there() -> None:
    problem = problem_of(without("chat_send", "content"))
    assert (problem.path, problem.got, problem.rule) == (
        "$.payload.content",
        "nothing",
        "required fields",
    )


@pytest.mark.parametrize(
    ("attachments", "valid"),
    [([], True), ([{"name": "a"}, "b", 3], True), ({}, False), ("a", False), (None, False)],
)
def test_attachments_are_a_list_if_present(attachments: object, *, valid: bool) -> None:
    assert (check(changed("chat_send", attachments=attachments)) is None) == valid


@given(st.text(st.characters()))
def test_characters_are_counted_as_javascript_does(text: str) -> None:
    assert utf16_units(text) == sum(1 + (ord(character) > 0xFFFF) for character in text)


# -- the other types ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field", "value", "got"),
    [
        ("chat_stream", "sequence", 0, "0"),
        ("chat_stream", "sequence", -1, "-1"),
        ("status_update", "progress", 1.01, "1.01"),
        ("status_update", "progress", -0.01, "-0.01"),
        ("tool_call", "tool_name", "", "0 characters"),
        ("tool_call", "execution_id", "", "0 characters"),
        ("tool_result", "execution_id", "", "0 characters"),
        ("session_join", "session_id", "", "0 characters"),
        ("collaborative_action", "session_id", "", "0 characters"),
        ("collaborative_action", "action", "", "0 characters"),
        ("connection_established", "session_id", "", "0 characters"),
        ("connection_error", "error", "", "0 characters"),
    ],
)
def test_a_value_beyond_its_bound_is_refused_with_what_came(
    name: str, field: str, value: object, got: str
) -> None:
    problem = problem_of(changed(name, **{field: value}))
    assert problem.path == f"$.payload.{field}"
    assert (problem.got, problem.rule, problem.code) == (got, "declared bounds", 400)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("chat_stream", "sequence", 1),
        ("chat_stream", "sequence", 2**40),
        ("chat_stream", "chunk", ""),
        ("status_update", "progress", 0),
        ("status_update", "progress", 1),
        ("status_update", "progress", 0.0),
        ("status_update", "progress", 1.0),
        ("status_update", "progress", None),
        ("status_update", "status", ""),
        ("notification", "dismissible", False),
        ("tool_call", "parameters", {}),
        ("tool_result", "result", None),
        ("tool_result", "result", [1, "a"]),
        ("chat_receive", "timestamp", 1640995202),
        ("chat_receive", "timestamp", "2022-01-01T00:00:02Z"),
        ("collaborative_action", "action", "my_own_action"),
    ],
)
def test_a_value_on_its_bound_is_valid(name: str, field: str, value: object) -> None:
    assert check(changed(name, **{field: value})) is None


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("chat_stream", "sequence", 1.0),
        ("chat_stream", "sequence", "1"),
        ("chat_stream", "sequence", True),
        ("chat_stream", "is_complete", 1),
        ("chat_stream", "is_complete", "true"),
        ("chat_stream", "chunk", None),
        ("status_update", "progress", "0.5"),
        ("status_update", "status", None),
        ("notification", "type", None),
        ("notification", "title", 3),
        ("tool_call", "parameters", []),
        ("tool_call", "parameters", None),
        ("tool_result", "status", 0),
        ("session_join", "session_id", 5),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, field: str, value: object) -> None:
    problem = problem_of(changed(name, **{field: value}))
    assert problem.path == f"$.payload.{field}"
    assert problem.rule == "declared type"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field)
        for name, payload in PAYLOADS.items()
        for field in payload
        if (name, field) != ("notification", "title")
    ],
)
def test_a_required_payload_field_must_be_there(name: str, field: str) -> None:
    problem = problem_of(without(name, field))
    assert str(problem) == f"$.payload.{field}: expected a value, got nothing (required fields)"


@pytest.mark.parametrize(
    ("fields", "valid"),
    [
        ({"title": "done"}, True),
        ({"message": "all is well"}, True),
        ({"title": "done", "message": "all is well"}, True),
        ({}, False),
        ({"title": None, "message": None}, False),
    ],
)
def test_a_notification_says_something(fields: dict[str, Any], *, valid: bool) -> None:
    problem = check(message("notification", {"type": "info"} | fields))
    assert (problem is None) == valid
    if problem is not None:
        assert (problem.path, problem.expected) == ("$.payload", "title or message")


def test_a_connection_error_may_carry_only_its_name() -> None:
    assert check(message("connection_error", {"error": "gone"})) is None


# -- batch --------------------------------------------------------------------------------------


def batch_of(*inner: str) -> str:
    return f'{{"id":"b","type":"batch","payload":{{"messages":[{",".join(inner)}]}}}}'


@pytest.mark.parametrize(("count", "valid"), [(0, False), (1, True), (100, True), (101, False)])
def test_a_batch_holds_one_to_a_hundred_messages(count: int, *, valid: bool) -> None:
    problem = check(batch_of(*[message("chat_send")] * count))
    assert (problem is None) == valid
    if problem is not None:
        assert problem.path == "$.payload.messages"
        assert problem.got == f"{count} items"


def test_a_batch_in_a_batch_is_refused() -> None:
    problem = problem_of(batch_of(message("chat_send"), batch_of(message("chat_send"))))
    assert (problem.path, problem.rule) == ("$.payload.messages[1]", "batches do not nest")


def test_each_message_of_a_batch_is_validated_and_named() -> None:
    bad = changed("status_update", progress=2)
    problem = problem_of(batch_of(message("chat_send"), message("chat_send"), bad))
    assert (problem.path, problem.got) == ("$.payload.messages[2].payload.progress", "2")


@pytest.mark.parametrize("inner", ["5", "null", '"text"', "[]", "{}"])
def test_only_envelopes_are_messages_of_a_batch(inner: str) -> None:
    assert problem_of(batch_of(message("chat_send"), inner)).path.startswith(
        "$.payload.messages[1]"
    )


def test_a_message_of_a_type_nobody_declared_may_be_in_a_batch() -> None:
    assert check(batch_of('{"id":"m","type":"my.type","payload":0}')) is None


def test_the_limits_are_those_of_the_specification() -> None:
    assert (MAX_CONTENT_UNITS, MAX_BATCH, MAX_MESSAGE_BYTES) == (10_000, 100, 1024 * 1024)


# -- what hostile and unlucky senders write -----------------------------------------------------


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
