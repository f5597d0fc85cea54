"""Reads bare messages, one a line, as records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from megabot_cli.recording.bare_messages import BadMessage, Directions, read_line, said_at_s
from megabot_cli.recording.record import Record
from megabot_cli.storage.foreign_reader import ForeignReader
from megabot_cli.storage.line_source import Line, lines_of
from megabot_cli.storage.more_secrets import MoreSecrets


class JsonlReader(ForeignReader):
    """Which way a message went is told by its type, when by its own timestamp."""

    form = "jsonl"

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        secrets: MoreSecrets,
        *,
        strict: bool,
        at_once: bool = False,
    ) -> None:
        super().__init__(file, name, secrets, strict=strict, at_once=at_once)
        self._lines = lines_of(file, name)
        self._first = next(self._lines, None)
        at_s = said_at_s(self._text_of(self._first)) if self._first is not None else None
        self._begin("jsonl", round(at_s * 1e6) if at_s is not None else None)
        self._knows_start = at_s is not None

    def _text_of(self, line: Line) -> str:
        try:
            return read_line(_content(line))
        except BadMessage:
            return ""

    def _records(self) -> Iterator[Record]:
        directions = Directions()
        at_us = self._started_us
        for line in chain([self._first] if self._first is not None else [], self._lines):
            if not _content(line) and line.content is not None:
                continue
            try:
                text = read_line(_content(line))
            except BadMessage as fault:
                self._skip_line(line, str(fault))
                continue
            at_us = self._time_of(text, at_us)
            record = Record(n=1, t=0, kind="message", direction=directions.of(text), data=text)
            record.client, record.link = "client_1", "link_1"
            record.size = len(text.encode("utf-8", "surrogatepass"))
            yield self._finished(record, at_us)

    def _time_of(self, text: str, before_us: int) -> int:
        """When a message says it was sent; one that does not went right after the one before."""
        at_s = said_at_s(text)
        if at_s is None:
            return before_us
        at_us = round(at_s * 1e6)
        if not self._knows_start:  # what went before told no time: all is counted from here
            self._started_us, self._knows_start = at_us, True
        return at_us

    def _skip_line(self, line: Line, why: str) -> None:
        if line.content is None:
            why = "it is longer than a message may be"
        if line.whole:
            self._skip(f"the line at byte {line.offset}", why)
        else:
            self._torn(line.offset, line.size)


def _content(line: Line) -> bytes:
    return (line.content or b"").strip().removeprefix(b"\xef\xbb\xbf")
