"""What a batch may hold."""

from __future__ import annotations

import pytest

from megabot_cli.protocol.messages import MAX_BATCH, MAX_CONTENT_UNITS
from megabot_cli.protocol.validation import (
    MAX_MESSAGE_BYTES,
    check,
)
from tests.protocol.samples import changed, message, problem_of


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
