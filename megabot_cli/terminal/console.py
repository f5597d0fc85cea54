"""The one owner of stdout, stderr, colour and width.

Results go to stdout, everything else to stderr. Each write is flushed, but for what is read
`in_bulk`: a pipe sees a record when it exists, not when a buffer is full.

Remarks quote what others wrote, such as the cause of a fault or the name of a file: none of
them can steer a terminal. A result line is written as it is, for it may be painted.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol, TextIO

from megabot_cli.errors import MegabotError, is_disk_full
from megabot_cli.terminal.text import safe_json, safe_text, wrap

ColorChoice = Literal["auto", "always", "never"]
Style = Literal["bold", "dim", "red", "green", "yellow", "blue", "magenta", "cyan"]

_BULK_LINES = 256  # leave together, where nobody waits for each

_CODES: dict[Style, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
PLAIN_WIDTH = 100  # for help and tables where nobody says how wide the paper is


class ReaderGone(Exception):
    """Whoever read our stdout closed it: nothing is left to do, and nothing went wrong."""


class LiveArea(Protocol):
    """Something drawn at the bottom of the terminal that must step aside for a line."""

    def hide(self) -> None: ...
    def show(self) -> None: ...


class Console:
    """Where a command writes. `color` and `width` are decided once, when it is made.

    `width` is that of stdout and `err_width` that of stderr; None is no terminal.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        color: bool = False,
        err_color: bool = False,
        width: int | None = None,
        err_width: int | None = None,
        in_is_terminal: bool = False,
        out_is_terminal: bool = False,
        err_is_terminal: bool = False,
        can_draw: bool = True,
        verbosity: int = 0,
    ) -> None:
        self._out = out
        self._err = err
        self.color = color
        self.err_color = err_color
        self.width = width
        self.err_width = err_width
        self.in_is_terminal = in_is_terminal
        self.out_is_terminal = out_is_terminal
        self.err_is_terminal = err_is_terminal
        self.can_draw = can_draw  # a terminal that goes back over what it has shown
        self.verbosity = verbosity
        self.live_area: LiveArea | None = None
        self._at_line_start = True
        self._flushes = True
        self._waiting: list[str] = []  # lines, in bulk

    @property
    def shows_progress(self) -> bool:
        """Whether somebody looks at what goes on meanwhile, and it can go away again."""
        return self.err_is_terminal and self.can_draw and self.verbosity >= 0

    # stdout

    @contextmanager
    def in_bulk(self) -> Iterator[None]:
        """Within this, the result is written in large pieces: for what is all there already."""
        self._flushes = False
        try:
            yield
        finally:
            self._flushes = True
            self._flush()

    @contextmanager
    def writing_to(self, out: TextIO) -> Iterator[None]:
        """Within this, results go to `out`: a pager, say."""
        self._write_waiting()
        before, self._out = self._out, out
        try:
            yield
            self._write_waiting()
        finally:
            self._waiting.clear()
            self._out = before
            self._at_line_start = True

    def line(self, text: str = "") -> None:
        """One line of the result."""
        if self._flushes or self.live_area is not None:
            self._write(text + "\n")
            return
        self._waiting.append(text)
        if len(self._waiting) >= _BULK_LINES:
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Write the lines that were put together."""
        if not self._waiting:
            return
        text = "\n".join(self._waiting) + "\n"
        self._waiting.clear()
        try:
            self._out.write(text)
        except OSError as fault:
            raise _refused(fault) from fault
        self._at_line_start = True

    def json(self, value: object, *, indent: int | None = None) -> None:
        """`value` as the result, in characters that steer no terminal."""
        import json  # not wanted by most of what is typed

        self.line(safe_json(json.dumps(value, ensure_ascii=False, indent=indent)))

    def stream(self, text: str) -> None:
        """A piece of the result, shown at once."""
        self._write(text)

    @property
    def at_line_start(self) -> bool:
        """Whether what `stream` wrote ended with its line."""
        return self._at_line_start

    def end_line(self) -> None:
        """End a line that `stream` left open."""
        if not self._at_line_start:
            self._write("\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        self._write_waiting()
        if self.live_area is not None and self.out_is_terminal:
            self.live_area.hide()
        try:
            self._out.write(text)
        except OSError as fault:
            raise _refused(fault) from fault
        if self._flushes:
            self._flush()
        self._at_line_start = text.endswith("\n")
        if self.live_area is not None and self.out_is_terminal:
            self.live_area.show()

    def _flush(self) -> None:
        self._write_waiting()
        try:
            self._out.flush()
        except OSError as fault:
            raise _refused(fault) from fault

    # stderr

    def note(self, text: str) -> None:
        """Something worth knowing that is not the result; silent with -q."""
        if self.verbosity >= 0:
            self.error_line(self.sentence(text))

    def detail(self, text: str) -> None:
        """Something worth knowing with -v."""
        if self.verbosity > 0:
            self.error_line(self.sentence(text))

    def warn(self, text: str) -> None:
        if self.verbosity >= 0:
            self.error_line(self.sentence(text, "warning:", "yellow"))

    def sentence(self, text: str, word: str = "", *styles: Style) -> str:
        """`text`, made harmless, as it stands on stderr, a painted `word` before it: a terminal
        gets it broken between words, for it would break it within them."""
        harmless = safe_text(text)
        taken = len(word) + 1 if word else 0
        if self.err_width is not None:
            harmless = wrap(harmless, self.err_width, taken)
        return f"{self.paint_error(word, *styles)} {harmless}" if word else harmless

    def error_line(self, text: str) -> None:
        """A line on stderr whatever the verbosity, as it is."""
        if not self._flushes:
            self._flush()
        if self.live_area is not None:
            self.live_area.hide()
        if self.out_is_terminal and self.err_is_terminal and not self._at_line_start:
            self.end_line()  # on a terminal both streams share the line that `stream` left open
        self.draw(text + "\n")
        if self.live_area is not None:
            self.live_area.show()

    def draw(self, text: str) -> None:
        """Write to stderr as it is. A stderr that nobody reads is no reason to stop."""
        try:
            self._err.write(text)
            self._err.flush()
        except OSError:
            return

    # colour

    def paint(self, text: str, *styles: Style) -> str:
        """`text` in colour where stdout has colour."""
        return _painted(text, styles) if self.color else text

    def paint_error(self, text: str, *styles: Style) -> str:
        """`text` in colour where stderr has colour."""
        return _painted(text, styles) if self.err_color else text


def _painted(text: str, styles: tuple[Style, ...]) -> str:
    return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def _refused(fault: OSError) -> Exception:
    return ReaderGone() if isinstance(fault, BrokenPipeError) else cannot_write(fault)


def cannot_write(fault: OSError) -> MegabotError:
    """What is said when stdout takes no more, such as on a full disk."""
    hint = "Make room, or write somewhere else." if is_disk_full(fault) else None
    return MegabotError(f"Could not write the result: {fault.strerror}", hint)


def use_color(choice: ColorChoice, environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Decide on colour: the flag, NO_COLOR, FORCE_COLOR or CLICOLOR_FORCE, TERM, the terminal."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    forced = environ.get("FORCE_COLOR") or environ.get("CLICOLOR_FORCE")
    if forced and forced != "0":
        return True
    return is_terminal and environ.get("TERM") != "dumb"


def open_console(
    environ: Mapping[str, str], *, color: ColorChoice = "auto", verbosity: int = 0
) -> Console:
    """The console of this process. Standard streams that are closed count as /dev/null."""
    out, err = _usable(sys.stdout), _usable(sys.stderr)
    out_is_terminal, err_is_terminal = out.isatty(), err.isatty()
    return Console(
        out,
        err,
        color=use_color(color, environ, is_terminal=out_is_terminal),
        err_color=use_color(color, environ, is_terminal=err_is_terminal),
        width=_width(environ, 1) if out_is_terminal else None,
        err_width=_width(environ, 2) if err_is_terminal else None,
        in_is_terminal=sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty(),
        out_is_terminal=out_is_terminal,
        err_is_terminal=err_is_terminal,
        can_draw=environ.get("TERM") != "dumb",
        verbosity=verbosity,
    )


class Nowhere(io.StringIO):
    """A stream for what nobody can read."""

    def write(self, text: str) -> int:
        return len(text)


def _usable(stream: TextIO | None) -> TextIO:
    if stream is None or stream.closed:
        return Nowhere()
    _take_any_character(stream)
    return stream


def _take_any_character(stream: TextIO) -> None:
    """Never fail on a character the stream's encoding lacks; files and pipes get UTF-8."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None:
        return
    if stream.isatty():
        reconfigure(errors="backslashreplace")
    else:
        reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


def _width(environ: Mapping[str, str], descriptor: int) -> int:
    columns = environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(descriptor).columns or PLAIN_WIDTH
    except OSError:
        return PLAIN_WIDTH


def reader_is_gone(descriptor: int = 1) -> bool:
    """Say whether nobody reads `descriptor` any more, without writing to it.

    An idle `tail | head -1` would else wait for its next message to find out.
    """
    if not hasattr(select, "poll"):
        return False
    poller = select.poll()
    try:
        poller.register(descriptor, 0)
        events = poller.poll(0)
    except OSError:
        return True
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in events)


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)
    except OSError:
        return
