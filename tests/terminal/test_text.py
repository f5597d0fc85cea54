"""Text of others cannot steer a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.terminal.text import display_width, fit, safe_json, safe_line, safe_text, wrap

STEERING = "\x1b\x07\x08\x9b\x7f\u202e\u2066\u200f\u061c\u2028\ufeff"


def test_an_escape_sequence_becomes_visible() -> None:
    assert safe_text("\x1b]52;c;aGk=\x07") == "\\e]52;c;aGk=\\x07"


def test_a_direction_override_becomes_visible() -> None:
    assert safe_line("abc\u202egnp.exe") == "abc\\u202egnp.exe"


def test_line_breaks_and_tabs_of_an_answer_stay() -> None:
    assert safe_text("a\n\tb\r\nc") == "a\n\tb\nc"


def test_a_lone_carriage_return_cannot_overwrite_a_line() -> None:
    assert safe_text("harmless\rrm -rf /") == "harmless\\rrm -rf /"


def test_on_one_line_a_line_break_is_visible() -> None:
    assert safe_line("a\nb\tc") == "a\\nb\\tc"


def test_words_in_other_scripts_are_left_alone() -> None:
    assert safe_line("grüße 你好 שלום 🎉") == "grüße 你好 שלום 🎉"


@given(st.text())
def test_any_text_is_harmless(text: str) -> None:
    for character in STEERING:
        assert character not in safe_text(text)
        assert character not in safe_line(text)
    assert "\n" not in safe_line(text)


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_any_json_keeps_its_value(value: dict[str, object]) -> None:
    written = safe_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(written) == value
    assert not set(written) & set(STEERING)


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("你好", 4), ("e\u0301", 1), ("", 0)])
def test_wide_and_combining_characters_are_measured(text: str, width: int) -> None:
    assert display_width(text) == width


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_any_text_fits(text: str, width: int) -> None:
    assert display_width(fit(text, width)) <= width


def test_a_sentence_is_broken_between_words_and_a_command_nowhere() -> None:
    assert wrap("one two three", 9) == "one two\nthree"
    assert wrap("one two three", 9, taken=4) == "one\ntwo three"
    assert wrap("it fits", 7) == "it fits"
    assert wrap("see `megabot login --url X`, then", 20) == "see\n`megabot login --url X`,\nthen"
    assert wrap("at https://a.example/far/too/long ok", 12) == (
        "at\nhttps://a.example/far/too/long\nok"
    )
    assert wrap("one two\n    ^ stands under it", 7) == "one two\n    ^ stands under it"
    assert wrap("你好 你好", 6) == "你好\n你好"


@given(st.text(st.sampled_from("ab` \n你-"), max_size=40), st.integers(1, 20))
def test_of_what_is_broken_no_word_is_lost(text: str, width: int) -> None:
    broken = wrap(text, width)
    assert broken.split() == text.split()
    for line in broken.split("\n"):
        assert (
            display_width(line) <= width
            or " " not in line.strip()
            or "`" in line
            or (line[0] == " ")
        )
