"""What is sought by hand is found where a regular expression finds it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.plain_pattern import (
    is_any_found,
    is_found,
    needed_texts,
    plain_pattern,
    plain_patterns,
)

sources = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "^"]),
    st.lists(st.sampled_from(["a", "b", "ab", "-", ".*", ".+"]), min_size=1, max_size=6).map(
        "".join
    ),
    st.sampled_from(["", "$"]),
)


@given(source=sources, text=st.text("ab-", max_size=9))
def test_a_plain_pattern_is_found_where_the_expression_matches(source: str, text: str) -> None:
    pattern = plain_pattern(source)
    assert pattern is not None
    assert is_found(pattern, text) is (re.search(source.replace("$", r"\Z"), text) is not None)


@pytest.mark.parametrize(
    "source",
    ["", "^", "$", "^$", "a.", "a?", "a.*?b", "a.**", "a.+{2}", r"a\.b", "[ab]", "a|b", "(a)",
     "a^b", "a$b", "a{2}", "*a", "a.*+"],
)  # fmt: skip
def test_anything_else_is_left_to_the_engine(source: str) -> None:
    assert plain_pattern(source) is None


ways = st.lists(
    st.sampled_from(["a", "b", "-", ".*", ".+", "(a|b)", "(?:ab|-|)", "(a)", "|", "^", "$"]),
    min_size=1,
    max_size=7,
).map("".join)


@given(source=ways, text=st.text("ab-", max_size=9))
def test_one_of_its_ways_is_found_where_the_expression_matches(source: str, text: str) -> None:
    patterns = plain_patterns(source)
    if patterns is not None:
        found = re.search(source.replace("$", r"\Z"), text) is not None
        assert is_any_found(patterns, text) is found


@pytest.mark.parametrize(
    ("source", "count"),
    [("timed out|refused", 2), ("^(a|b) (?:c|d)$", 4), ("(a|b)|c", 3), ("(a|b)(a|b)(a|b)", 8)],
)
def test_one_text_or_another_is_plain(source: str, count: int) -> None:
    patterns = plain_patterns(source)
    assert patterns is not None
    assert len(patterns) == count


@pytest.mark.parametrize(
    "source", ["(a|b)*", "(a|b)?c", "((a|b)|c)d*", r"\(a|b)", "[(a|b)]", "(?i)a", "a|", "(a|b)" * 6]
)
def test_ways_without_number_are_the_engines(source: str) -> None:
    assert plain_patterns(source) is None


def test_no_gap_reaches_over_the_end_of_a_line() -> None:
    pattern = plain_pattern("a.*b")
    assert pattern is not None
    assert is_found(pattern, "a\nb") is None
    plain = plain_pattern("b")
    assert plain is not None
    assert is_found(plain, "a\nb") is True


@pytest.mark.parametrize(
    ("source", "needed"),
    [
        ("^jumps .* (dog|fox)$", ["jumps ", " "]),
        ("ab+c", ["ab", "c"]),
        ("ab?c", ["a", "c"]),
        ("ab*c", ["a", "c"]),
        ("ab{0}c", ["a", "c"]),
        (r"a\.b", ["a", "b"]),
        (r"code \d+ at", ["code ", " at"]),
        ("x(?:y)+z", ["x", "z"]),
        ("a|b", []),
        ("(?i)abc", []),
        ("(?x)a b", []),
        ("((a))b", []),
        ("[]a]b", []),
        (r"\x41b", []),
        (r"a\Qb", []),
        ("a{b", []),
    ],
)
def test_what_a_match_cannot_do_without(source: str, needed: list[str]) -> None:
    assert needed_texts(source) == needed


wilder = st.lists(
    st.sampled_from(
        ["a", "b", "-", ".", ".*", "a?", "b+", "a*", "[ab]", "[^a]", "(a|b)", "(?:ab)?", "b{0,2}",
         "^", "$", r"\-", r"\w"]
    ),
    min_size=1,
    max_size=7,
).map("".join)  # fmt: skip


@given(source=wilder, text=st.text("ab-", max_size=9))
def test_where_an_expression_matches_all_needed_texts_stand(source: str, text: str) -> None:
    try:
        matched = re.search(source, text) is not None
    except re.error:
        return
    if matched:
        assert all(each in text for each in needed_texts(source))
