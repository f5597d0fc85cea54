from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.recording.word_search import seeker, texts_to_find


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
    "html", [r"\u003cb\u003eTom\u0027s \u0026 co\u003c/b\u003e", "<b>Tom's & co</b>"]
)
@pytest.mark.parametrize(
    "pattern",
    [
        "<",
        "<b>",
        "<b>Tom",
        "Tom's",
        "'s & co",
        "s & c",
        r"[<]b",
        "(?i)<B>",
        "^.*<b>.+ & ",
        r"\x3cb>T",
    ],
)
def test_what_some_write_as_an_escape_for_pages_of_html_is_found_as_itself(
    pattern: str, html: str
) -> None:
    assert is_found(pattern, f'{{"text":"{html}"}}')
    assert is_found(pattern, f'{{"text":"{html}"}}'.replace("3c", "3C"))
    assert not is_found(pattern, r'{"payload":{"text":"b>Tom \\u003cb co"}}')


def test_the_escape_itself_can_be_sought() -> None:
    assert is_found(r"\\u003cb", r'"\u003cb"')
    assert is_found(r"\\u003c.+'s", r'"\u003cb> Tom\u0027s" + \'s')


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("timed out", ("timed out",)),
        ("café au", ("caf",)),
        ("é", ()),
        ("a.c", ()),
        ("b(é|è)", ()),
        ("<b>", ("<b>", "u003")),
        ("<é>'", (">'", "u002", "u003")),
        ("<b>timed out", ("timed out",)),
        ("Q & A", ("Q & A", "u002")),
        ('"content"', ("content",)),
        ('"', ()),
    ],
)
def test_what_must_stand_in_a_line_is_sought_as_it_may_stand_there(
    pattern: str, texts: tuple[str, ...]
) -> None:
    assert texts_to_find(pattern) == texts


@given(
    said=st.text(st.sampled_from('aé😀"\\u0\n<'), max_size=12),
    sought=st.text(st.sampled_from("aé😀u0<"), min_size=1, max_size=3),
)
def test_any_text_is_found_in_either_form_alike(said: str, sought: str) -> None:
    if sought.isascii():
        return  # in the other form it may stand in the escape itself
    find = seeker(re.compile(sought))
    forms = [json.dumps(said, ensure_ascii=as_escapes) for as_escapes in (True, False)]
    forms.append(forms[0].replace("<", "\\u003c"))
    assert [find(text) for text in forms] == [sought in said] * 3
