from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.side_by_side import side_by_side
from megabot_cli.terminal.text import display_width

TITLES = ("recorded", "now")


def lines(left: str, right: str, width: int = 60, *, color: bool = False) -> list[str]:
    return list(side_by_side(MemoryConsole(color=color), left, right, TITLES, width))


def test_what_was_and_what_is_stand_beside_each_other() -> None:
    assert lines("It is sunny.", "It is rainy.", 40) == [
        "recorded           │ now",
        "It is sunny.       │ It is rainy.",
    ]


def test_only_the_words_that_differ_are_marked() -> None:
    shown = lines("It is sunny.", "It is rainy.", 40, color=True)[1]
    assert "It is \x1b[31msunny\x1b[0m." in shown
    assert "It is \x1b[32mrainy\x1b[0m." in shown


@given(left=st.text(max_size=200), right=st.text(max_size=200), width=st.integers(30, 100))
def test_any_texts_keep_to_the_width_and_steer_nothing(left: str, right: str, width: int) -> None:
    for line in lines(left, right, width):
        assert display_width(line) <= width
        assert not any(ord(character) < 32 or character == "\x7f" for character in line)
