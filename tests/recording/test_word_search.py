from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.recording.word_search import seeker, text_to_find


def is_found(pattern: str, text: str) -> bool:
    return Selection(grep=pattern).matches(Record(n=1, t=0, kind="message", data=text))


@pytest.mark.parametrize("as_escapes", [True, False])
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("café", "un café noir"),
        ("^.*caf[éè]", "café"),
        (r"caf\u00e9", "café"),
        (r"caf\xe9", "café"),
        (r"caf\N{LATIN SMALL LETTER E WITH ACUTE}", "café"),
        ("(?i)CAFÉ", "café"),
        ("é{2}", "éé"),
        ("é.? n", "née née"),
        ("😀", "so 😀!"),
        (r"[\U0001f600-\U0001f64f]", "😀"),
        ("東京", "東京"),
        ('"é', 'é "é"'),
    ],
)
def test_a_letter_is_found_as_itself_and_as_an_escape(
    pattern: str, said: str, as_escapes: bool
) -> None:
    text = json.dumps({"payload": {"text": said}}, ensure_ascii=as_escapes)
    assert is_found(pattern, text)
    assert not is_found(pattern, '{"payload": {"text": "coffee"}}')


def test_an_escape_of_capitals_is_the_same_letter() -> None:
    assert is_found("é", r'"\u00E9"')
    assert is_found("😀", r'"\uD83D\uDE00"')


def test_a_backslash_that_is_one_itself_begins_no_escape() -> None:
    assert not is_found("é", r'"C:\\u00e9"')
    assert is_found("é", r'"C:\\\u00e9"')


def test_an_expression_of_ascii_alone_is_sought_in_the_text_as_it_travelled() -> None:
    assert is_found(r"caf\\u00e9", r'"caf\u00e9"')
    assert is_found(r"caf.u00e9", r'"caf\u00e9"')
    assert not is_found("hello", r'"h\u0065llo"')


def test_half_of_a_pair_is_left_as_it_is() -> None:
    assert not is_found("😀", r'"\ud83d x \ude00"')
    assert is_found("é", r'"\ud83d é"')


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("timed out", "timed out"), ("café au", "caf"), ("é", None), ("a.c", None), ("b(é|è)", None)],
)
def test_what_must_stand_in_a_line_is_sought_by_its_letters_of_ascii(
    pattern: str, text: str | None
) -> None:
    assert text_to_find(pattern) == text


@given(
    said=st.text(st.sampled_from('aé😀"\\u0\n'), max_size=12),
    sought=st.text(st.sampled_from("aé😀u0"), min_size=1, max_size=3),
)
def test_any_text_is_found_in_either_form_alike(said: str, sought: str) -> None:
    if sought.isascii():
        return  # in the other form it may stand in the escape itself
    find = seeker(re.compile(sought))
    forms = [json.dumps(said, ensure_ascii=as_escapes) for as_escapes in (True, False)]
    assert [find(text) for text in forms] == [sought in said] * 2
