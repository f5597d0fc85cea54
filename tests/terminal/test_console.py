"""One owner of stdout and stderr."""

from __future__ import annotations

import errno
import io
import json
import os

import pytest

from megabot_cli.errors import MegabotError
from megabot_cli.terminal.console import (
    ColorChoice,
    Console,
    ReaderGone,
    open_console,
    reader_is_gone,
    use_color,
)
from megabot_cli.terminal.memory_console import MemoryConsole


class Failing(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, fault: OSError) -> None:
        super().__init__()
        self._fault = fault

    def write(self, text: str) -> int:
        raise self._fault


@pytest.mark.parametrize(
    ("choice", "environ", "is_terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "0"}, False, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour_is_decided_by_flag_then_environment_then_terminal(
    choice: ColorChoice, environ: dict[str, str], is_terminal: bool, expected: bool
) -> None:
    assert use_color(choice, environ, is_terminal=is_terminal) is expected


def test_without_colour_nothing_is_painted() -> None:
    assert MemoryConsole().paint("text", "red") == "text"
    assert MemoryConsole(color=True).paint("text", "bold", "red") == "\x1b[1;31mtext\x1b[0m"


def test_results_and_remarks_do_not_mix() -> None:
    console = MemoryConsole(verbosity=1)
    console.line("result")
    console.note("remark")
    console.detail("detail")
    assert console.stdout == "result\n"
    assert console.stderr == "remark\ndetail\n"


def test_quiet_leaves_only_errors() -> None:
    console = MemoryConsole(verbosity=-1)
    console.note("remark")
    console.warn("warning")
    console.error_line("error")
    assert console.stderr == "error\n"


def test_a_remark_on_a_terminal_does_not_join_a_growing_answer() -> None:
    console = MemoryConsole(terminal=True)
    console.stream("half an ans")
    console.note("remark")
    assert console.stdout == "half an ans\n"


def test_a_line_that_is_whole_is_not_ended_twice() -> None:
    console = MemoryConsole()
    console.stream("answer\n")
    console.end_line()
    assert console.stdout == "answer\n"


def test_a_reader_that_left_is_told_as_such() -> None:
    console = Console(Failing(BrokenPipeError()), io.StringIO())
    with pytest.raises(ReaderGone):
        console.line("result")


def test_a_full_disk_is_an_error_with_a_hint() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    console = Console(Failing(full), io.StringIO())
    with pytest.raises(MegabotError, match="No space left") as caught:
        console.line("result")
    assert caught.value.hint


def test_what_remarks_and_json_quote_cannot_steer_the_terminal() -> None:
    console = MemoryConsole(verbosity=1)
    for remark in (console.note, console.detail, console.warn):
        remark("\x1b[2J\x9b\u202e")
    console.json({"name": "\x9b2J\u202e", "words": "äöü"})
    assert not set(console.stderr + console.stdout) & set("\x1b\x9b\u202e")
    assert json.loads(console.stdout) == {"name": "\x9b2J\u202e", "words": "äöü"}
    assert "äöü" in console.stdout


def test_a_remark_is_broken_between_words_on_a_terminal_and_nowhere_in_a_pipe() -> None:
    pipe, terminal = MemoryConsole(), MemoryConsole(terminal=True, width=20, color=True)
    for console in (pipe, terminal):
        console.note("a remark that is rather long")
        console.warn("and of no use")
    assert pipe.stderr == "a remark that is rather long\nwarning: and of no use\n"
    painted = "\x1b[33mwarning:\x1b[0m and of no\nuse"
    assert terminal.stderr == f"a remark that is\nrather long\n{painted}\n"


def test_a_stderr_that_nobody_reads_stops_nothing() -> None:
    Console(io.StringIO(), Failing(BrokenPipeError())).error_line("remark")


def test_an_idle_pipe_without_a_reader_is_noticed() -> None:
    reader, writer = os.pipe()
    try:
        assert not reader_is_gone(writer)
        os.close(reader)
        assert reader_is_gone(writer)
    finally:
        os.close(writer)


def test_closed_standard_streams_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stdin", None)
    console = open_console({})
    console.line("into the void")
    assert not console.in_is_terminal
