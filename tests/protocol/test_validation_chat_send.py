"""What `chat_send` must hold, and how its characters are counted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.validation import (
    check,
    utf16_units,
)
from tests.protocol.samples import ASTRAL, changed, problem_of, without


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
