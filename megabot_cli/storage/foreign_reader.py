"""Records made on the way from files that are no recordings, as the recorder would make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Final, Literal, Self

from megabot_cli.errors import BadData
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import payload_of
from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.har import iso_time
from megabot_cli.recording.held_streams import HeldStreams, without_secrets
from megabot_cli.recording.record import Record
from megabot_cli.recording.stream_redaction import StreamRedactor
from megabot_cli.recording.unpacking import unpack
from megabot_cli.storage.more_secrets import MoreSecrets

_MOST_WARNINGS: Final = 20
_MOST_LINKS: Final = 10_000
_ANY_TEXT: Final = ("utf-8", "surrogatepass")


class ForeignReader(ABC):
    """Gives the records of a foreign file, without secrets; subclasses read it.

    The same to use as a `RecordingReader`. `header` is made up: there is no recording yet. `form`
    is how its file is written.
    Records are held back until a secret that is cut in pieces can be seen whole; with `at_once`
    they are not, and the first letters of such a secret stay.
    """

    form: ClassVar[Literal["har", "jsonl"]]

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        secrets: MoreSecrets,
        *,
        strict: bool,
        at_once: bool = False,
    ) -> None:
        self.name = name
        self.header: Header | None = None
        self.warnings: list[str] = []
        self.bad_lines = 0
        self.torn_bytes = 0
        self.clean = False  # until it has been read to its end
        self._file = file
        self._strict = strict
        self._at_once = at_once
        self._redactor = secrets.redactor()
        self._streams = StreamRedactor(self._redactor)
        self._sessions: dict[str | None, str] = {}
        self._started_us = 0
        self._n = 0
        self._t = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    @property
    def header_line(self) -> bytes:
        return encode_header(self.header)[:-1] if self.header is not None else b""

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Record]:
        yield from self._without_secrets()
        self.clean = not (self.bad_lines or self.torn_bytes)

    def lines(self) -> Iterator[tuple[Record, bytes]]:
        """Give each record with the line it would have in a recording, without a newline."""
        for record in self:
            yield record, encode_record(record)[:-1]

    def numbered(
        self, begin: Place | None = None, blocks: BlockChoice | None = None
    ) -> Iterator[tuple[Record, bytes, int]]:
        """As `lines`; nothing is missing from what is numbered here."""
        for record, line in self.lines():
            yield record, line, 0

    def as_they_stand(self) -> Iterator[Record]:
        """Instead of iterating: the records with their secrets, for who looks for these."""
        yield from self._records()
        self.clean = not (self.bad_lines or self.torn_bytes)

    def around(self) -> Iterator[tuple[str, str]]:
        """What stands in the file beside the messages: where, and what, as JSON text."""
        return iter(())

    @property
    def lost_at_end(self) -> int | None:
        """What could not be read, wherever it stood: no number tells where."""
        return self.bad_lines + (self.torn_bytes > 0) or None

    @property
    def breaks_off(self) -> bool:
        return self.torn_bytes > 0

    def _without_secrets(self) -> Iterator[Record]:
        if self._at_once:
            for record in self._records():
                yield self._streams.redact_record(record)
            return
        texts = ((each, (each.data or "").encode(*_ANY_TEXT)) for each in self._records())
        for record, _, cleaned in HeldStreams(self._redactor).through(texts):
            yield without_secrets(self._redactor, record, cleaned)

    @abstractmethod
    def _records(self) -> Iterator[Record]:
        """The records as they stand in the file, secrets and all."""

    def _begin(self, source: str, started_us: int | None, url: str = "") -> None:
        """Make up the header. When all began is microseconds of Unix time, None if unknown."""
        known = started_us is not None
        self._started_us = started_us - started_us % 1000 if started_us is not None else 0
        self.header = Header(
            recording="",
            started_at=iso_time(self._started_us) if known else "",
            clock="wall",
            upstream=self._without_query(url),
            redaction=self._redactor.policy,
            labels={"converted_from": source},
        )

    def _without_query(self, url: str) -> str:
        """Where a URL leads. Its query is left out: it is where credentials travel."""
        address = url.partition("#")[0].partition("?")[0]
        scheme, slashes, rest = address.partition("://")
        host, slash, path = rest.partition("/")
        return self._redactor.clean(scheme + slashes + host.rpartition("@")[2] + slash + path)

    def _finished(self, record: Record, at_us: int, payload: bytes | None = None) -> Record:
        """Number a record that happened then, and fill in what its text tells."""
        self._n += 1
        self._t = max(self._t, at_us - self._started_us)
        record.n, record.t = self._n, self._t
        if payload is not None:
            unpack(record, payload)
        if record.data is not None:
            self._look_into(record, record.data)
        return record

    def _look_into(self, record: Record, text: str) -> None:
        head = peek(text)
        if head is None:
            return
        record.id, record.type, record.reply_to = head.id, head.type, head.reply_to
        record.user = record.user or head.user_id
        if head.type == "connection_established" and len(self._sessions) < _MOST_LINKS:
            payload = payload_of(text)
            session = payload.get("session_id") if isinstance(payload, dict) else None
            if isinstance(session, str):
                self._sessions[record.link] = session
        record.session = record.session or head.session_id or self._sessions.get(record.link)

    def _skip(self, where: str, why: str) -> None:
        """Something that says nothing is counted and told; BadData where we are strict."""
        self.bad_lines += 1
        self._warn(f"{self.name}: {where} is no message: {why}")

    def _torn(self, offset: int, dropped_bytes: int) -> None:
        self.torn_bytes = max(1, dropped_bytes)
        self._warn(f"{self.name}: torn at byte {offset}; what came before is read")

    def _warn(self, text: str) -> None:
        if self._strict:
            raise BadData(f"{text}.", "Without --strict what can be read is read.")
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)
