"""Log lines on a narrow terminal."""

from __future__ import annotations

import os
import pty
import re
import struct
from fcntl import ioctl
from termios import TIOCSWINSZ

import structlog
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.telemetry.folding import INDENT, fold
from megabot_cli.telemetry.logs import configure_logging

FAULT = "Could not connect to http://upstream.example: Connection refused by who stands there"


def test_what_fits_stays_one_line() -> None:
    assert fold(["12:00 [info] started", "url=ws://x"], 80) == "12:00 [info] started url=ws://x"


def test_fields_stay_whole_where_they_fit_and_are_indented() -> None:
    assert fold(["head", "fault='no way'", "link=l1"], 20) == "head fault='no way'\n    link=l1"


def test_a_field_wider_than_a_line_is_folded_between_words() -> None:
    assert fold(["head", "fault='one two three four'"], 16) == (
        "head fault='one\n    two three\n    four'"
    )


def test_colours_take_no_room() -> None:
    red = "\x1b[31mhead\x1b[0m"
    assert fold([red, "\x1b[36ma\x1b[0m=1"], 8) == f"{red} \x1b[36ma\x1b[0m=1"


@given(st.lists(st.text("ab =", min_size=1), min_size=1), st.integers(8, 40))
def test_any_line_says_the_same_folded(pieces: list[str], columns: int) -> None:
    words = " ".join(pieces).split()
    folded = fold(pieces, columns)
    assert folded.split() == words
    for line in folded.split("\n"):
        assert len(line) <= columns or len(line.split()) == 1


def test_a_terminal_gets_lines_that_are_not_wider_than_it() -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "w") as terminal:
        configure_logging(stream=terminal, color=True)
        structlog.get_logger().warning("link.dial_failed", fault=FAULT, attempt=1, link="link_1")
        terminal.flush()
        said = os.read(ours, 4096).decode().replace("\r\n", "\n")
    os.close(ours)
    structlog.reset_defaults()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) > 1
    assert all(line.startswith(INDENT) for line in lines[1:])
    assert FAULT in " ".join(line.strip() for line in lines)
