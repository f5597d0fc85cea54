"""One line on stderr that says what goes on while nothing else comes."""

from __future__ import annotations

from megabot_cli.terminal.live_line import LiveLine
from megabot_cli.terminal.text import fit, safe_line


class StatusLine(LiveLine):
    """It makes way for whatever else is written, and comes back only with the next `say`."""

    def say(self, text: str) -> None:
        if not self._active or not self._console.at_line_start:
            return  # an answer is being written on this line
        line = fit(safe_line(text), self._columns)
        self._draw(self._console.paint_error(line, "dim"))
