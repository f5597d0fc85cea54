"""A bar for people, nothing for pipes."""

from __future__ import annotations

import pytest

from megabot_cli.terminal.memory_console import MemoryConsole
from megabot_cli.terminal.progress import LateProgress, Progress, format_duration


class Clock:
    """Seconds that go on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_sees_no_bar() -> None:
    console = MemoryConsole()
    with Progress(console, "replay", 10) as progress:
        progress.reach(5)
    assert console.stderr == ""


def test_the_bar_says_share_rate_and_time_left() -> None:
    clock = Clock()
    progress = Progress(MemoryConsole(terminal=True), "replay", 10, clock=clock)
    clock.now += 2
    progress.reach(4, "1 late")
    assert progress.text() == (
        "replay  ██████████░░░░░░░░░░░░░░   40%  4/10  2/s  3.0 s left  1 late"
    )


def test_the_time_left_is_what_somebody_knows_it_to_be() -> None:
    clock = Clock()
    progress = Progress(MemoryConsole(terminal=True), "replay", 10, clock=clock)
    clock.now += 2
    progress.reach(4, left_s=90)
    assert progress.text().endswith("2/s  1:30 left")


def test_nobody_guesses_the_time_left_where_nobody_can() -> None:
    clock = Clock()
    progress = Progress(MemoryConsole(terminal=True), "replay", 10, clock=clock)
    clock.now += 2
    progress.reach(4, "paused", guesses=False)
    assert progress.text().endswith("4/10  2/s  paused")


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (79, "replay  ███████░░░░░░░░░░░   40%  4/10  2/s  3.0 s left  12 ms late, 79 replies"),
        (60, "replay   40%  4/10  2/s  3.0 s left  12 ms late, 79 replies"),
        (56, "replay   40%  4/10  3.0 s left  12 ms late, 79 replies"),
    ],
)
def test_where_the_line_is_short_the_bar_is_and_then_the_rate(columns: int, shown: str) -> None:
    clock = Clock()
    progress = Progress(MemoryConsole(terminal=True), "replay", 10, clock=clock)
    clock.now += 2
    progress.reach(4, "12 ms late, 79 replies")
    assert progress.text(columns) == shown
    assert len(shown) <= columns


def test_without_a_total_it_counts() -> None:
    clock = Clock()
    progress = Progress(MemoryConsole(terminal=True), "read", clock=clock)
    clock.now += 1
    progress.advance(7)
    assert progress.text() == "read  7  7/s"


def test_the_bar_is_not_drawn_more_often_than_one_sees() -> None:
    clock = Clock()
    console = MemoryConsole(terminal=True)
    with Progress(console, "read", 100, clock=clock) as progress:
        for _ in range(50):
            progress.advance()
        assert console.stderr.count("read") == 1


def test_a_result_line_pushes_the_bar_aside_and_it_comes_back() -> None:
    console = MemoryConsole(terminal=True)
    with Progress(console, "read", 3) as progress:
        progress.reach(1)
        before = console.stderr
        console.line("result")
        assert console.stderr.removeprefix(before).startswith("\r\x1b[K")
        assert console.stderr.endswith("/s  " + progress.text().split("/s  ")[1])
    assert console.stderr.endswith("\r\x1b[K")
    assert console.live_area is None


def test_the_bar_never_wraps() -> None:
    console = MemoryConsole(terminal=True, width=30)
    with Progress(console, "a long label for a narrow terminal", 3) as progress:
        progress.reach(1)
    assert all(len(part) <= 29 for part in console.stderr.split("\r\x1b[K"))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.84, "0.8 s"), (12.4, "12 s"), (200, "3:20"), (3723, "1:02:03")]
)
def test_durations_read_as_people_say_them(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_what_is_over_within_a_second_shows_no_bar_and_what_takes_longer_does() -> None:
    clock, console = Clock(), MemoryConsole(terminal=True)
    late = LateProgress(console, "indexing", clock=clock)
    for done in (10, 20, 100):
        clock.now += 0.4
        late(done << 20, 100 << 20)
    assert console.stderr == ""
    for done in (10, 20, 50, 100):
        clock.now += 0.6
        late(done << 20, 100 << 20)
    assert "indexing" in console.stderr
    assert "50/100  42/s" in console.stderr  # since it began
    assert console.stderr.endswith("\r\x1b[K")


def test_a_bar_within_another_stands_in_its_place_meanwhile() -> None:
    clock, console = Clock(), MemoryConsole(terminal=True)
    with Progress(console, "cutting", clock=clock) as outer:
        outer.advance()
        with Progress(console, "indexing", clock=clock) as inner:
            assert console.live_area is inner
        assert console.live_area is outer
    assert console.live_area is None
