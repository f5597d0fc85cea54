"""A console that keeps what was written, for tests of whatever writes to one."""

from __future__ import annotations

import io

from megabot_cli.terminal.console import Console


class MemoryConsole(Console):
    """Stands in for a pipe, or with `terminal=True` for a terminal of `width` columns."""

    def __init__(
        self,
        *,
        terminal: bool = False,
        color: bool = False,
        width: int | None = None,
        verbosity: int = 0,
    ) -> None:
        self.written = io.StringIO()
        self.said = io.StringIO()
        super().__init__(
            self.written,
            self.said,
            color=color,
            err_color=color,
            width=width if width is not None else (80 if terminal else None),
            err_width=(width or 80) if terminal else None,
            in_is_terminal=terminal,
            out_is_terminal=terminal,
            err_is_terminal=terminal,
            verbosity=verbosity,
        )

    @property
    def stdout(self) -> str:
        return self.written.getvalue()

    @property
    def stderr(self) -> str:
        return self.said.getvalue()
