"""An examination as it goes: one line for each finding, and what is being looked at."""

from __future__ import annotations

import textwrap

from megabot_cli.doctor.findings import Finding, Verdict
from megabot_cli.terminal.console import Console, Style
from megabot_cli.terminal.live_line import LiveLine
from megabot_cli.terminal.text import fit, safe_line

_STYLES: dict[Verdict, Style] = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "dim"}
_VERDICT_WIDTH = len("skipped")
_LEAST_ROOM = 30  # columns: where fewer are left the words stand below, so far to the right:
_BELOW = 4


class FindingsPrinter(LiveLine):
    """Findings on stdout; on a terminal stderr says meanwhile what one waits for."""

    def __init__(self, console: Console, widest_name: int) -> None:
        super().__init__(console)
        self._widest = widest_name
        self._waiting = ""

    def begin(self, what: str) -> None:
        """Say what is being looked at now."""
        self._waiting = what
        if self._active:
            self.show()

    def show_finding(self, finding: Finding) -> None:
        verdict = self._console.paint(
            finding.verdict.ljust(_VERDICT_WIDTH), _STYLES[finding.verdict]
        )
        head = f"{verdict}  {finding.check.ljust(self._widest)}  "
        indent = _VERDICT_WIDTH + 2 + self._widest + 2
        if self._console.width is not None and self._console.width - indent < _LEAST_ROOM:
            self._console.line(head.rstrip())
            head = " " * (indent := _BELOW)
        first, *rest = self._wrapped(safe_line(finding.message), indent)
        self._console.line(f"{head}{first}")
        for line in rest:
            self._console.line(f"{' ' * indent}{line}")
        if finding.fix:
            for place, line in enumerate(self._wrapped(safe_line(finding.fix), indent + 2)):
                mark = "→ " if place == 0 else "  "
                self._console.line(f"{' ' * indent}{self._console.paint(mark, 'bold')}{line}")

    def _wrapped(self, text: str, indent: int) -> list[str]:
        """Lines for what is left of the width; in a pipe one line."""
        if self._console.width is None:
            return [text]
        room = max(10, self._console.width - indent)
        return textwrap.wrap(text, room, break_on_hyphens=False) or [""]

    def show(self) -> None:
        if self._waiting:
            self._draw(fit(f"… {self._waiting}", self._columns))
