"""The live screen of `relay top`: rates, links, clients, the slowest answers."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from megabot_cli.terminal.asking import Asked
from megabot_cli.terminal.console import Console
from megabot_cli.terminal.progress import format_duration
from megabot_cli.terminal.text import display_width, fit, safe_line
from megabot_cli.terminal.views import size
from megabot_cli.wording import counted

_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 40  # looks back
_WIDTH = 95  # of the whole table
_LEAST_NAME = 12
_LOOK_S = 0.5
_ENDS = frozenset(b"q\x04")  # q and Ctrl-D
_PATIENCE_S = 2.0  # so long an answer may take before that is told
_HOME_AND_CLEAR = "\x1b[H\x1b[J"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Screen:
    """Draws one look after another. On a terminal it has the screen to itself until it ends,
    keeps to its size as it is at each look, and `q` ends it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.out_is_terminal and console.can_draw
        self._keyboard: list[Any] | None = None  # how the terminal was
        self._before: tuple[float, dict[str, Any]] | None = None
        self._rates: list[float] = []

    def __enter__(self) -> Self:
        if self._live:
            self._console.stream(_ENTER)
            self._take_keys()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._keyboard is not None:
            import termios

            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._keyboard)
        if self._live:
            self._console.stream(_LEAVE)

    def _take_keys(self) -> None:
        """Have keys come as they are pressed; Ctrl-C stays what it is."""
        if not self._console.in_is_terminal:
            return
        import termios
        import tty

        self._keyboard = termios.tcgetattr(sys.stdin.fileno())
        tty.setcbreak(sys.stdin.fileno())

    def wait(self, seconds: float) -> bool:
        """Return after so long; False at once when somebody presses q."""
        return self._hear(time.monotonic() + seconds, ()) is not False

    def wait_for(self, asked: Asked[Any]) -> bool:
        """Return when the answer is there; False at once when somebody presses q.

        One that lets us wait is told, on the last line of the screen.
        """
        began_at = time.monotonic()
        while True:
            heard = self._hear(time.monotonic() + _LOOK_S, (asked,))
            if heard is not None:
                return heard
            waited_s = time.monotonic() - began_at
            if self._live and waited_s >= _PATIENCE_S:
                self._tell(f"no answer from the relay for {waited_s:.0f} s; q ends")

    def _tell(self, text: str) -> None:
        width, height = shutil.get_terminal_size()
        self._console.stream(f"\x1b7\x1b[{height};1H\x1b[K{fit(text, width)}\x1b8")

    def _hear(self, until: float, answers: Sequence[Asked[Any]]) -> bool | None:
        """True when there is an answer, False when q or Ctrl-D was pressed, None after `until`."""
        keyboard = [] if self._keyboard is None else [sys.stdin]
        while True:
            left = max(0.0, until - time.monotonic())
            heard = select.select([*keyboard, *answers], [], [], left)[0]
            if sys.stdin in heard:
                pressed = os.read(sys.stdin.fileno(), 100)
                if not pressed or not _ENDS.isdisjoint(pressed.lower()):
                    return False
            elif heard:
                return True
            elif not left:
                return None

    def show(self, facts: dict[str, Any], clients: list[dict[str, Any]], now: float) -> None:
        """One look: the relay's status and its clients, taken at `now` (monotonic seconds)."""
        if self._live:
            width, height = shutil.get_terminal_size()
            lines = self.lines(facts, clients, now, width)
            shown = "\r\n".join(fit(safe_line(line), width) for line in lines[:height])
            self._console.stream(_HOME_AND_CLEAR + shown)
        else:
            for line in self.lines(facts, clients, now, _WIDTH):
                self._console.line(safe_line(line))

    def lines(
        self, facts: dict[str, Any], clients: list[dict[str, Any]], now: float, width: int
    ) -> list[str]:
        up, down = self._rate(facts, now)
        links = ", ".join(f"{count} {state}" for state, count in sorted(facts["links"].items()))
        replies, chunks = facts["replies"], facts["first_chunks"]
        busiest = sorted(clients, key=lambda each: each["outbox_bytes"], reverse=True)[:15]
        state = "draining" if facts["draining"] else "ready" if facts["ready"] else "NOT READY"
        return [
            f"megabot relay {facts['profile']} → {facts['upstream']}   {state}, "
            f"{facts['mode']} mode, up {format_duration(facts['uptime_s'])}",
            "",
            f"messages/s  up {up:8.1f}   down {down:8.1f}   {self._history()}",
            f"links       {links or 'none'}   reconnects {facts['reconnects']}",
            f"clients     {facts['clients']} on {counted(facts['sessions'], 'session')}, "
            f"{counted(facts['taps'], 'tap')}   to go up {facts['waiting_to_upstream']}   "
            f"to clients {size(facts['outbox_bytes'])}",
            f"answers     {replies['count']}   p50 {_bound(replies['p50_s'])}   "
            f"p95 {_bound(replies['p95_s'])}",
            f"first chunk p95 {_bound(chunks['p95_s'])}",
            *([f"fault       {facts['fault']}"] if facts.get("fault") else []),
            "",
            *_slow(facts.get("slowest_replies", []), width),
            *_table(busiest, width),
        ]

    def _rate(self, facts: dict[str, Any], now: float) -> tuple[float, float]:
        passed = facts["messages"]
        before, self._before = self._before, (now, passed)
        if before is None or now <= before[0]:
            return 0.0, 0.0
        seconds = now - before[0]
        up = (passed["to_upstream"] - before[1]["to_upstream"]) / seconds
        down = (passed["to_client"] - before[1]["to_client"]) / seconds
        self._rates = [*self._rates, max(0.0, up + down)][-_HISTORY:]
        return max(0.0, up), max(0.0, down)

    def _history(self) -> str:
        """The rates of the last looks as a line of bars."""
        most = max(self._rates, default=0.0)
        if not most:
            return ""
        return "".join(_BARS[round(rate / most * (len(_BARS) - 1))] for rate in self._rates)


def _slow(replies: list[dict[str, Any]], width: int) -> list[str]:
    """The slowest answers, if there are any: what they took stands first, for rows are cut at
    their end."""
    if not replies:
        return []
    rows = [
        f"{_took(each['took_s']):>9}  {format_duration(each['age_s']):>5} ago  "
        f"{each['type']} {each['id'] or '-'}  of {each['client']}, {each['session'] or '-'}"
        for each in replies
    ]
    return ["slowest answers of the last minute", *(fit(row, width) for row in rows), ""]


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _table(clients: list[dict[str, Any]], width: int) -> list[str]:
    """The clients in at most `width` columns: names give way, then whole columns, which are
    named below."""
    room = width - sum(columns for _, columns, _ in _FIGURES)
    client = min(30, max(_LEAST_NAME, room * 30 // 56))
    session = min(26, room - client)
    if session < _LEAST_NAME:
        client, session = min(30, max(_LEAST_NAME, room)), 0
    figures = list(_FIGURES)
    while client + sum(columns for _, columns, _ in figures) > width and len(figures) > 1:
        del figures[0]
    left_out = ["session"] * (not session)
    left_out += [name for name, _, _ in _FIGURES[: len(_FIGURES) - len(figures)]]

    def row(client_name: str, session_id: str, cells: list[str]) -> str:
        names = _column(client_name, client) + _column(session_id, session)
        return names + "".join(
            f"{cell:>{columns}}" for cell, (_, columns, _) in zip(cells, figures, strict=True)
        )

    return [
        row("client", "session", [name for name, _, _ in figures]),
        *(
            row(
                each["name"] or each["id"],
                each["session"] or "-",
                [text(each) for _, _, text in figures],
            )
            for each in clients
        ),
        *([f"not shown for want of room: {', '.join(left_out)}"] if left_out else []),
    ]


def _column(text: str, width: int) -> str:
    """A name and a gap of two, in so many columns of the screen; nothing in none."""
    if not width:
        return ""
    fitted = fit(safe_line(text), width - 2)
    return fitted + " " * (width - display_width(fitted))


_FIGURES: tuple[tuple[str, int, Callable[[dict[str, Any]], str]], ...] = (
    ("connected", 10, lambda client: format_duration(client["connected_s"])),
    ("sent", 9, lambda client: str(client["messages"]["to_upstream"])),
    ("got", 9, lambda client: str(client["messages"]["to_client"])),
    ("waiting", 11, lambda client: size(client["outbox_bytes"])),
)


def _bound(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"≤ {seconds * 1000:g} ms" if seconds < 1 else f"≤ {seconds:g} s"
