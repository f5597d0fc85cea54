"""How large a message may be, counted in bytes of UTF-8."""

from __future__ import annotations

import pytest

from megabot_cli.protocol.validation import (
    MAX_MESSAGE_BYTES,
    check,
)
from tests.protocol.samples import ASTRAL, problem_of


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
