from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.terminal.markdown_stream import MarkdownStream

_ANSI = re.compile(r"\x1b\[\d+m")
_markdown = st.text(st.sampled_from("ab *`#-~\n"), max_size=60)


def whole(text: str) -> str:
    stream = MarkdownStream()
    return stream.feed(text) + stream.end()


def test_headings_bold_code_and_bullets_lose_their_markers() -> None:
    assert whole("# Title\n") == "\x1b[1mTitle\x1b[0m\n"
    assert whole("a **b** c") == "a \x1b[0m\x1b[1mb\x1b[0m c"
    assert whole("a `b*c*` d") == "a \x1b[36mb*c*\x1b[0m d"
    assert whole("- one\n  * two\n") == "• one\n  • two\n"
    assert whole("2 * 3 #4 - 5\n") == "2 * 3 #4 - 5\n"


def test_a_block_of_code_stays_as_it_is() -> None:
    shown = _ANSI.sub("", whole("```sh\n# no heading **x** `y`\n- z\n```\n"))
    assert shown == "```sh\n# no heading **x** `y`\n- z\n```\n"


def test_a_marker_left_open_colours_no_second_line() -> None:
    assert whole("**open\nnext") == "\x1b[0m\x1b[1mopen\x1b[0m\nnext"


def test_words_come_at_once_and_only_half_markers_wait() -> None:
    stream = MarkdownStream()
    assert stream.feed("Hello wor") == "Hello wor"
    assert stream.feed("ld *") == "ld "
    assert stream.feed("*bo") == "\x1b[0m\x1b[1mbo"
    assert stream.feed("ld**\n#") == "ld\x1b[0m\n"
    assert stream.feed("1 is the first") == "#1 is the first"
    assert stream.end() == ""


@given(_markdown, st.lists(st.integers(0, 60), max_size=8))
def test_it_is_the_same_in_whatever_pieces_it_comes(text: str, cuts: list[int]) -> None:
    stream, at, shown = MarkdownStream(), 0, ""
    for cut in sorted(cuts):
        shown += stream.feed(text[at:cut])
        at = max(at, cut)
    shown += stream.feed(text[at:]) + stream.end()
    assert shown == whole(text)
    assert shown.count("\x1b[0m") >= (shown.rfind("\x1b[1m") > shown.rfind("\x1b[0m"))


@given(st.text(max_size=200))
def test_no_word_is_lost(text: str) -> None:
    kept = re.sub(r"[-*+`#~ •]", "", text)
    assert re.sub(
        r"[-*+`#~ •]", "", _ANSI.sub("", whole(text.replace("\x1b", "")))
    ) == kept.replace("\x1b", "")
