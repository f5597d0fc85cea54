"""How an examination looks: in a pipe, and on a terminal of some width."""

from __future__ import annotations

from megabot_cli.doctor.findings import fail, named, ok, skipped
from megabot_cli.errors import CouldNotConnect
from megabot_cli.terminal.findings_printer import FindingsPrinter
from megabot_cli.terminal.memory_console import MemoryConsole

FAILED = named(fail(CouldNotConnect("It is \x1b[31mdown.", "Start it, " * 12)), "tcp")


def test_a_pipe_gets_a_line_each_and_no_cursor_play() -> None:
    console = MemoryConsole()
    with FindingsPrinter(console, 5) as printer:
        printer.begin("the port")
        printer.show_finding(named(ok("well"), "name"))
        printer.show_finding(FAILED)
        printer.show_finding(named(skipped("tcp failed"), "tls"))
    first, second, fix, last = console.stdout.splitlines()
    assert first == "ok       name   well"
    assert second == "fail     tcp    It is \\e[31mdown"
    assert fix.startswith("                → Start it, Start it")
    assert last == "skipped  tls    tcp failed"
    assert console.stderr == ""


def test_on_a_narrow_terminal_the_words_stand_below_and_fit() -> None:
    console = MemoryConsole(terminal=True, width=40)
    with FindingsPrinter(console, 13) as printer:
        printer.show_finding(named(ok("there and back in 0.3 ms (median of 3)"), "ping"))
        printer.show_finding(FAILED)
    lines = console.stdout.splitlines()
    assert lines[:3] == ["ok       ping", "    there and back in 0.3 ms (median of", "    3)"]
    assert lines[3:5] == ["fail     tcp", "    It is \\e[31mdown"]
    assert max(map(len, lines)) <= 40


def test_a_terminal_sees_what_one_waits_for_and_lines_that_fit() -> None:
    console = MemoryConsole(terminal=True, color=True, width=60)
    with FindingsPrinter(console, 5) as printer:
        printer.begin("the port")
        assert console.stderr == "\r\x1b[K… the port"
        printer.show_finding(FAILED)
        assert console.stderr.endswith("\r\x1b[K… the port")
    assert console.stderr.endswith("\r\x1b[K")
    assert "\x1b[31mfail" in console.stdout
    plain = console.stdout.replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\x1b[1m", "")
    assert max(map(len, plain.splitlines())) <= 60
    assert console.live_area is None
