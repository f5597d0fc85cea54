"""A conversation on a terminal: who asked what, what came to it, and how long that took."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import msgspec

from megabot_cli.recording.turn_facts import Said, TurnFacts
from megabot_cli.terminal.console import Console
from megabot_cli.terminal.text import fit, safe_json, safe_line, safe_text
from megabot_cli.terminal.views import clock, hue, size
from megabot_cli.wording import missing_chunks

_INDENT = "  "
_UNASKED_NOISE = ("connection_established",)


class ConversationPrinter:
    """Writes turns to stdout: laid out for people, or one JSON object a line.

    With `cuts_answers` some chunks of an answer may not be among the records that were chosen.
    """

    def __init__(
        self, console: Console, form: str, started_at_s: float, *, cuts_answers: bool = False
    ) -> None:
        self._console = console
        self._json = form in ("json", "jsonl")
        self._started_at_s = started_at_s
        self._cuts_answers = cuts_answers
        self._session: str | None = None

    def show(self, turn: TurnFacts) -> None:
        if self._json:
            self._console.line(safe_json(msgspec.json.encode(turn).decode()))
            return
        if turn.kind == "unasked" and all(said.type in _UNASKED_NOISE for said in turn.said):
            return
        if turn.session is not None and turn.session != self._session:
            self._session = turn.session
            name = safe_line(turn.session)
            self._console.line(self._console.paint(f"── {name}", hue(turn.session), "bold"))
        if turn.kind == "request":
            self._request(turn)
        elif turn.kind == "unasked":
            self._head(turn, "←", "unasked")
        elif turn.kind == "answer":
            self._head(turn, "←", "answer")
            self._line(_whose(turn), "dim")
        else:
            self._head(turn, "·", turn.kind)
            if turn.note:
                self._block(turn.note, "dim")
        for said in turn.said:
            self._said(said)
        if turn.kind == "request" and not turn.said:
            self._line("(no answer)", "yellow")

    def _request(self, turn: TurnFacts) -> None:
        self._head(turn, "→", turn.type or "message")
        if turn.text is not None:
            self._block(turn.text)
        elif turn.binary_bytes is not None:
            self._line(f"binary, {size(turn.binary_bytes)}", "dim")
        elif turn.payload is not None:
            self._line(_compact(turn.payload))
        if turn.said:
            self._line(self._pace(turn), "dim")

    def _head(self, turn: TurnFacts, arrow: str, title: str) -> None:
        paint = self._console.paint
        at = paint(clock(self._started_at_s + turn.at_s), "dim")
        client = f"  {paint(safe_line(turn.client), 'dim')}" if turn.client else ""
        name = paint(safe_line(title), hue(title), "bold")
        self._console.line(
            f"{at} {paint(arrow, 'bold')} {name}  {paint(f'n={turn.n}', 'dim')}{client}"
        )

    def _pace(self, turn: TurnFacts) -> str:
        if turn.first_s is None:
            is_answered = turn.kind == "request" and turn.messages
            return "after how long is not known: the time goes back" if is_answered else ""
        first = f"first after {_seconds(turn.first_s)}, " if turn.messages > 1 else ""
        count = f", {turn.messages} messages" if turn.messages > 1 else ""
        by = " by the relay itself" if turn.refused else ""
        if turn.whole_s is None:
            return f"breaks off{by}: first after {_seconds(turn.first_s)}{count}"
        return f"answered{by}: {first}whole after {_seconds(turn.whole_s)}{count}"

    def _said(self, said: Said) -> None:
        if said.what == "text":
            self._block(said.text or "", "green")
            if said.missing:
                did_not_come = not (self._cuts_answers or said.lacks_beginning)
                told = missing_chunks(said.missing, did_not_come=did_not_come)
                self._line(f"({told})", "yellow")
            if not said.whole:
                self._line("(breaks off here)", "yellow")
        elif said.what == "tool_call":
            self._line(f"calls {said.name} {_compact(said.payload)}", "magenta")
        elif said.what == "tool_result":
            by = " by the client" if said.by_client else ""
            status = f" {said.status}" if said.status else ""
            self._line(f"{_INDENT}result{by}{status}: {_compact(said.payload)}", "magenta")
        elif said.type == "status_update" and isinstance(said.payload, dict):
            words = [str(said.payload[key]) for key in ("status", "message") if key in said.payload]
            self._line(f"status: {' '.join(words)}", "dim")
        elif said.type is None and said.payload is None:
            self._line("binary", "cyan")
        else:
            self._line(f"{said.type or 'message'} {_compact(said.payload)}", "cyan")

    def _line(self, text: str, style: Any = None) -> None:
        """One line, cut at the width of the terminal."""
        text = _INDENT + safe_line(text)
        if self._console.width is not None:
            text = fit(text, self._console.width)
        self._console.line(self._console.paint(text, style) if style else text)

    def _block(self, text: str, style: Any = None) -> None:
        """Words as they are, wrapped at the width of the terminal."""
        width = self._console.width
        for line in safe_text(text).splitlines() or [""]:
            rows = [line]
            if width is not None:
                rows = textwrap.wrap(line, max(20, width - len(_INDENT))) or [""]
            for row in rows:
                shown = f"{_INDENT}{row}".rstrip()
                self._console.line(self._console.paint(shown, style) if style and row else shown)


def _whose(turn: TurnFacts) -> str:
    """What an answer that stands alone is to."""
    by = "by the relay itself, " if turn.refused else ""
    if turn.asked_n is not None:
        return f"{by}to n={turn.asked_n}, which stands above"
    return f"{by}to {turn.reply_to or 'a request'}, which is not among what was chosen"


def _compact(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
