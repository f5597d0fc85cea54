"""Show records one after the other, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from megabot_cli.protocol.envelope import Head, HeadMetadata, open_envelope
from megabot_cli.protocol.messages import ChatStream
from megabot_cli.protocol.streams import StreamTable, joined_in
from megabot_cli.recording.layout import Layout
from megabot_cli.recording.passed_on import PassedOnGreetings
from megabot_cli.recording.record import Record
from megabot_cli.terminal.console import Console
from megabot_cli.terminal.text import safe_json, safe_line, safe_text
from megabot_cli.terminal.views import RecordLines, what_it_says
from megabot_cli.wording import missing_chunks

RecordForm = Literal["line", "wide", "json", "jsonl", "raw"]
FORMS: tuple[RecordForm, ...] = ("line", "wide", "json", "jsonl", "raw")

_MESSAGES = ("message", "inject")


class RecordPrinter:
    """Writes records to stdout. Messages always; what else happened with `events`.

    Without `events`, losses are told on stderr. `assemble` shows the chunks of one answer
    as one text that grows, says how many are missing, and leaves out the message that repeats
    it at the end; with `cuts_answers` some may not be among the records that were chosen. `layout`
    says what is shown of each instead. With `chosen_as_shown` all that is given is shown: who
    chose has asked `leaves_out`.
    """

    def __init__(
        self,
        console: Console,
        form: RecordForm,
        *,
        events: bool = False,
        assemble: bool = False,
        cuts_answers: bool = False,
        layout: Layout | None = None,
        chosen_as_shown: bool = False,
    ) -> None:
        self._console = console
        self._form = form
        self._events = events
        self._layout = layout
        self._lines = RecordLines(console)
        self._answers: Answers | None = None
        if assemble and layout is None:
            self._answers = Answers(console, self._lines, cuts_answers=cuts_answers)
        self.leaves_out: Callable[[Record], bool] | None = None
        """Whether a record is left out though it was chosen, asked of each in order; None: none is.
        """
        if self.for_people and layout is None and not events:
            self.leaves_out = PassedOnGreetings().is_one
        self._looks = self.leaves_out is not None and not chosen_as_shown
        self._write = self._writer(form)
        if form == "wide":
            console.width = None

    def _writer(self, form: RecordForm) -> Callable[[Record, float, bytes, str | None], None]:
        if self._layout is not None:
            return self._laid_out if form in ("line", "wide") else self._fields
        if form == "raw":
            return self._raw
        return self._line if form in ("line", "wide") else self._json

    @property
    def for_people(self) -> bool:
        """Whether headings between the records do no harm."""
        return self._form in ("line", "wide")

    @property
    def needs_lines(self) -> bool:
        """Whether the lines that records were read from are shown."""
        return self._form in ("json", "jsonl") and self._layout is None

    def show(self, record: Record, at: float, line: bytes = b"", source: str | None = None) -> None:
        """Show a record that happened `at` (Unix seconds); `line` is where it was read from,
        `source` what to call where it was seen, if that needs telling."""
        if record.kind not in _MESSAGES and not self._events:
            if record.kind in ("gap", "drop", "fault"):
                self._console.warn(f"{record.kind}: {what_it_says(record)}")
            return
        if self._answers is not None and self._form in ("line", "wide"):
            if self._answers.take(record, at, source):
                return
            self._answers.step_aside()
        if self._looks and self.leaves_out is not None and self.leaves_out(record):
            return
        self._write(record, at, line, source)

    def show_many(self, records: Sequence[Record], started_at: float) -> None:
        """As `show`, of records out of one recording that began then (Unix seconds)."""
        show, line, write = self.show, self._lines.line, self._console.line
        has_lines = self._write == self._line and self._answers is None
        for record in records:
            at = started_at + record.t / 1e6
            if has_lines and record.kind == "message" and record.type != "connection_established":
                write(line(record, at))
            else:
                show(record, at)

    def end(self) -> None:
        """End a line that an unfinished answer left open."""
        self._console.end_line()

    def _line(self, record: Record, at: float, line: bytes, source: str | None) -> None:
        self._console.line(self._lines.line(record, at, source))

    def _laid_out(self, record: Record, at: float, line: bytes, source: str | None) -> None:
        assert self._layout is not None
        self._console.line(self._layout.line(record, at, source, safe_line))

    def _fields(self, record: Record, at: float, line: bytes, source: str | None) -> None:
        assert self._layout is not None
        text = msgspec.json.encode(self._layout.facts(record, at, source))
        self._console.line(safe_json(text.decode()))

    def _json(self, record: Record, at: float, line: bytes, source: str | None) -> None:
        text = line or msgspec.json.encode(record)
        if source is not None:
            text = b'{"source":' + msgspec.json.encode(source) + b"," + text.lstrip()[1:]
        # Of ASCII only DEL can stand in a line of JSON and steer a terminal.
        if text.isascii() and b"\x7f" not in text:
            self._console.line(text.decode("ascii"))
        else:
            self._console.line(safe_json(text.decode("utf-8", "replace")))

    def _raw(self, record: Record, at: float, line: bytes, source: str | None) -> None:
        payload = record.payload()
        if isinstance(payload, str):
            # The exact text is for programs; a terminal would obey it.
            self._console.line(safe_text(payload) if self._console.out_is_terminal else payload)
        elif payload is not None and record.data_b64 is not None:
            self._console.line(record.data_b64)


class Answers:
    """The answers that are growing, one of them on the last line of the screen."""

    def __init__(self, console: Console, lines: RecordLines, *, cuts_answers: bool = False) -> None:
        self._console = console
        self._cuts_answers = cuts_answers
        self._lines = lines
        self._table = StreamTable()
        self._shown: str | None = None
        self._whole: dict[str, str] = {}  # the last finished answer to each message

    def take(self, record: Record, at: float, source: str | None) -> bool:
        """Show what a chunk brings and say True; False for anything that is no chunk."""
        if record.type == "chat_receive":
            return self._is_repetition(record)
        chunk = _chunk_of(record)
        if chunk is None:
            return False
        head = Head(metadata=HeadMetadata(session_id=record.session, reply_to=record.reply_to))
        key, stream, step = self._table.add(head, chunk, joined_in(record.data or ""))
        missing = stream.missing if step.finished else 0
        if self._shown != key and (step.ready or missing or not step.finished):
            self.step_aside()
            self._console.stream(self._lines.prefix(record, at, source))
            self._shown = key
        self._console.stream(safe_text(step.ready))
        if missing:
            told = missing_chunks(
                missing, did_not_come=not (self._cuts_answers or stream.lacks_its_beginning)
            )
            self._console.stream(self._console.paint(f" ({told})", "yellow"))
        if step.finished:
            self.step_aside()
            self._remember(record.reply_to, stream.text)
        return True

    def step_aside(self) -> None:
        """Give the last line free for something else."""
        self._console.end_line()
        self._shown = None

    def _remember(self, reply_to: str | None, text: str) -> None:
        if reply_to:
            if len(self._whole) >= 1000:
                del self._whole[next(iter(self._whole))]
            self._whole[reply_to] = text

    def _is_repetition(self, record: Record) -> bool:
        text = self._whole.pop(record.reply_to or "", None)
        return text is not None and what_it_says(record) == text


def _chunk_of(record: Record) -> ChatStream | None:
    if record.type != "chat_stream" or record.data is None:
        return None
    envelope = open_envelope(record.data)
    if envelope is None:
        return None
    try:
        return msgspec.json.decode(envelope.payload, type=ChatStream)
    except msgspec.DecodeError:
        return None
