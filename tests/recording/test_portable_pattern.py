"""What `re` is asked in the engine's place gives the engine's answer."""

from __future__ import annotations

import time

import cel
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from megabot_cli.recording.portable_pattern import portable_pattern

_ONES = ["a", "B", "é", "7", " ", "-", ".", "[ab]", "[^a]", "[a-c7]", "[^0-9é]", "[-a]", "[ab-]",
         "[.]", "[()]", "[$]", "[a|b]", "[*+]", r"[\w.]", r"[^\d]", r"[\s]", r"[\]a]", r"[a\-c]",
         r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\.", r"\$", r"\\", r"\-", r"\[", "#", "&", "~",
         "/", ":", "\n", "[a-]", "[]", "[]a]", "[a&&b]", "[[:alpha:]]", "[z-a]", r"\pL", r"\x41",
         r"\<", r"\/"]  # fmt: skip
_SIGNS = ["^", "$", "(", "(?:", ")", "|", r"\b", r"\B", "(?i)", "(?P<n>", r"\Z", r"\A"]
_TIMES = ["", "", "", "*", "+", "?", "{2}", "{1,2}", "{2,}", "{2,1}", "{,2}", "{0}", "*?", "++",
          "?+", "{1}{2}", "{", "}", "{a}"]  # fmt: skip
_pieces = st.one_of(
    st.builds("{}{}".format, st.sampled_from(_ONES), st.sampled_from(_TIMES)),
    st.sampled_from(_SIGNS),
    st.builds("({}{}|{})".format, *[st.sampled_from(_ONES)] * 3),
)
_sources = st.builds(
    "{}{}".format, st.sampled_from(["", "", "(?i)"]), st.lists(_pieces, max_size=6).map("".join)
)
_texts = st.text(st.sampled_from("aBbcé7 -.$()[]|*\n\r\x1c\x0b_\\#&~/:٣²ﬀ\u2028"), max_size=8)


def _engine_says(source: str, text: str) -> bool | None:
    """None where it refuses the expression."""
    try:
        answer = cel.evaluate("text.matches(source)", {"text": text, "source": source})
    except (ValueError, RuntimeError):
        return None
    assert isinstance(answer, bool)
    return answer


@settings(max_examples=600)
@given(source=_sources, text=_texts)
@example(source="a$", text="a\n")
@example(source="^.$", text="\r")
@example(source="(?i)[^b]", text="B")
@example(source="(?i)[A-C]", text="b")
@example(source="(?i)k", text="\u212a")
@example(source=r"\s", text="\x1c")
@example(source=r"[\s]", text="\x1c")
@example(source="()", text="")
@example(source="(a|)$", text="b")
@example(source="|a", text="b")
@example(source="[^a]", text="\n")
@example(source=r"^\w{20}$", text="a" * 20)
@example(source=r"\w{0,20}\w{0,20}\w{0,20}\w{0,20}\w{0,20}\w{0,20}", text="a")
def test_both_find_the_same(source: str, text: str) -> None:
    pattern = portable_pattern(source)
    found = None if pattern is None else pattern.is_found(text)
    if found is not None:
        assert found is _engine_says(source, text)


@pytest.mark.parametrize(
    "source",
    ["^jumps .* [df]o[gx]$", "[45].. failed", r"^\d+ (ms|s)", r"[A-Z]{3}-\d{1,4}", "a.*?b",
     "(?:Error|Failed): .+", r"took [0-9]+\.[0-9]+", "^(a|b|c|d|e|f|g)[.]", "(?i)timed out"],
)  # fmt: skip
def test_what_people_write_is_taken(source: str) -> None:
    assert portable_pattern(source) is not None


@pytest.mark.parametrize(
    "source",
    ["(a+)+$", "(a|b)*", "a**", "a++", "(?i)é", "a(?i)b", r"\x41", r"\bword\B", "a{,2}", "a{2,1}",
     "[z-a]",
     "[[:alpha:]]", "(a", "a)", "a{100}", "a?a?a?a?a?a?a?", "(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)", "^*",
     "[a&&b]"],
)  # fmt: skip
def test_the_rest_is_left_to_the_engine(source: str) -> None:
    assert portable_pattern(source) is None


@pytest.mark.parametrize("source", ["a*a*a*a*a*a*b", "(a|a)(a|a)(a|a)(a|a)(a|a)a*a*b", ".*.*.*b"])
def test_no_text_is_looked_at_for_long(source: str) -> None:
    pattern = portable_pattern(source)
    assert pattern is not None
    for length in (8, 30, 100, 200, 1000, 1_000_000):
        began = time.process_time()
        found = pattern.is_found("a" * length)
        assert found in (None, False)
        assert time.process_time() - began < 2
