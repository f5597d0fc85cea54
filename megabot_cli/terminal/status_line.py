"""One line on stderr that says what goes on while nothing else comes."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from megabot_cli.terminal.console import Console
from megabot_cli.terminal.text import fit, safe_line


class StatusLine:
    """Use as a context manager: it is gone with the work. Nothing is drawn without a terminal.

    It makes way for whatever else is written, and comes back only with the next `say`.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._on_screen = False
        self._active = console.shows_progress

    def __enter__(self) -> Self:
        if self._active:
            self._console.live_area = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._active:
            self.hide()
            self._console.live_area = None

    def say(self, text: str) -> None:
        if not self._active or not self._console.at_line_start:
            return  # an answer is being written on this line
        line = fit(safe_line(text), (self._console.width or 80) - 1)
        self._console.draw(f"\r\x1b[K{self._console.paint_error(line, 'dim')}")
        self._on_screen = True

    def hide(self) -> None:
        if self._on_screen:
            self._console.draw("\r\x1b[K")
            self._on_screen = False

    def show(self) -> None:
        """It stays away until there is something to say."""
