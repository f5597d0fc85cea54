"""The outer fields of any message, each with its boundary."""

from __future__ import annotations

import pytest

from megabot_cli.protocol.messages import MESSAGE_TYPES
from megabot_cli.protocol.validation import (
    Message,
    check,
    read,
)
from tests.protocol.samples import message, problem_of


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
