"""How `send` shows the messages that come for what it sent: as they are, one line each, or what
one asks of each (`--fields`)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from megabot_cli.client.answers import Answer
    from megabot_cli.client.received import Received
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.commands.sending import Wait
    from megabot_cli.recording.layout import Layout
    from megabot_cli.terminal.record_printer import RecordPrinter


class Replies:
    """Writes messages to stdout, in the form of the command."""

    def __init__(self, invocation: Invocation, layout: Layout | None) -> None:
        self._console = invocation.console
        self._form = invocation.output
        self._layout = layout
        self._began_at = time.time()
        self._number = 0

    @property
    def only_words(self) -> bool:
        """Whether people want to read what was said, and not the messages it came in."""
        return self._form == "text" and self._layout is None

    @cached_property
    def _printer(self) -> RecordPrinter:
        from megabot_cli.terminal.record_printer import RecordForm, RecordPrinter

        as_record: dict[str, RecordForm] = {"json": "json", "jsonl": "jsonl", "raw": "raw"}
        form = as_record.get(self._form, "line")
        return RecordPrinter(self._console, form, layout=self._layout)

    def show_answer(self, answer: Answer, session: str | None) -> None:
        """Its words, or the messages of it."""
        from megabot_cli.client.received import Received
        from megabot_cli.protocol.envelope import peek

        if self.only_words:
            self._console.line(_words_of(answer))
            return
        for text, at in zip(answer.messages, answer.came_at, strict=True):
            self.show(Received(text, peek(text), at), session)

    def show(self, received: Received, session: str | None) -> None:
        """One message; where only words are wanted, its payload."""
        from megabot_cli.commands.arrived import record_of
        from megabot_cli.terminal.text import safe_json

        assert isinstance(received.text, str)
        if self.only_words:
            payload = json.dumps(received.payload(), ensure_ascii=False)
            self._console.line(safe_json(payload))
        elif self._layout is None and self._form in ("json", "jsonl"):
            self._console.line(safe_json(received.text))  # exactly as it came
        else:
            self._number += 1
            since_us = max(0, round((received.at - self._began_at) * 1e6))
            record = record_of(received, self._number, since_us, session)
            self._printer.show(record, received.at)


def _words_of(answer: Answer) -> str:
    """The words of an answer; the payload where it is none of words."""
    from megabot_cli.protocol.envelope import open_envelope
    from megabot_cli.terminal.text import safe_json, safe_text

    if answer.text or not answer.messages:
        return safe_text(answer.text)
    envelope = open_envelope(answer.messages[-1])
    return safe_json(bytes(envelope.payload).decode() if envelope else answer.messages[-1])


def ends_the_wait(wait: Wait) -> Callable[[Received], bool]:
    """Says of a message whether it is one that is waited for."""
    if wait.until == "type":
        return lambda received: received.head is not None and received.head.type == wait.type
    from megabot_cli.commands.arrived import record_of
    from megabot_cli.recording.conditions import Condition

    condition = Condition(wait.condition)
    return lambda received: condition.holds(record_of(received, 1, 0, None))
