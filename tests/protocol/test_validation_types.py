"""The payload of each other type, on its bounds and beyond them."""

from __future__ import annotations

from typing import Any

import pytest

from megabot_cli.protocol.validation import (
    check,
)
from tests.protocol.samples import PAYLOADS, changed, message, problem_of, without


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
