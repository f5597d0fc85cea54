"""A line on stderr that stands for a while and is gone with the work."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from megabot_cli.terminal.console import Console, LiveArea


class LiveLine:
    """Use as a context manager. Nothing is drawn without a terminal.

    The console calls `hide` before it writes anything else, and `show` after that. One within
    another stands in its place meanwhile.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._on_screen = False
        self._active = console.shows_progress
        self._before: LiveArea | None = None

    def __enter__(self) -> Self:
        if self._active:
            self._before = self._console.live_area
            if self._before is not None:
                self._before.hide()
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
            self._console.live_area = self._before

    @property
    def _columns(self) -> int:
        """How wide it may be: a full last column would wrap the line."""
        return (self._console.width or 80) - 1

    def _draw(self, line: str) -> None:
        """Put `line` where it stands; it fits the columns."""
        self._console.draw(f"\r\x1b[K{line}")
        self._on_screen = True

    def hide(self) -> None:
        if self._on_screen:
            self._console.draw("\r\x1b[K")
            self._on_screen = False

    def show(self) -> None:
        """Come back after something else was written: not of itself."""
