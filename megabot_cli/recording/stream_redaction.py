"""Take out secrets that are cut in pieces: an answer streams, and each chunk alone is harmless.

A chunk is looked at together with the end of what its stream said before. What was written
already stays: of a secret that comes letter by letter the first few are kept, until there are
enough to know it by; the rest never is.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from megabot_cli.recording.json_walk import Walk, path_of, unescape
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.secret_shapes import is_already_redacted

Spans = list[tuple[int, int, str]]
"""Places in a text, in order and apart, and what is to stand there."""

Chunk = tuple[tuple[Any, ...], tuple[str | None, str], str, bool]
_IN_MESSAGE: Final = ("payload", "chunk")

STREAMED: Final = frozenset({"chat_stream", "batch"})

_REMEMBERED = 256  # characters of a stream: a name, a separator and the beginning of a value
_LONGEST_SECRET = 8192  # one that is open is remembered so far back
_BEFORE_SECRET = 64  # the name or scheme that makes it one
_MOST_STREAMS = 1000


class _Metadata(msgspec.Struct):
    reply_to: Any = None


class _Payload(msgspec.Struct):
    chunk: Any = None
    stream_id: Any = None
    is_complete: Any = False
    messages: list[msgspec.Raw] | None = None


class _Message(msgspec.Struct):
    payload: _Payload
    metadata: _Metadata | None = None


_decoder = msgspec.json.Decoder(_Message)


class Cleaned(msgspec.Struct, frozen=True):
    """A message without the pieces of secrets in its chunks, and their JSON paths."""

    text: str
    paths: list[str]


def chunks_of(text: str, link: str | None) -> list[Chunk]:
    """Each chunk in a message: its place, its stream, what it says and whether it is the last."""
    try:
        message = _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return []
    # Most messages are one chunk, and the recorder asks this of each.
    if message.payload.messages is None:
        chunk = _chunk(message, link, _IN_MESSAGE)
        return [chunk] if chunk is not None else []
    found = [_chunk(message, link, _IN_MESSAGE)]
    for place, inner in enumerate(message.payload.messages):
        try:
            within = _decoder.decode(inner)
        except (msgspec.DecodeError, RecursionError):
            continue
        found.append(_chunk(within, link, ("payload", "messages", place, *_IN_MESSAGE)))
    return [chunk for chunk in found if chunk is not None]


def _chunk(message: _Message, link: str | None, names: tuple[Any, ...]) -> Chunk | None:
    payload = message.payload
    if not isinstance(payload.chunk, str):
        return None
    reply_to = message.metadata.reply_to if message.metadata is not None else None
    stream = (link, str(reply_to or payload.stream_id or ""))
    return names, stream, payload.chunk, payload.is_complete is True


class StreamRedactor:
    """A redactor that remembers how each stream ended so far. For one place that writes."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._ends: dict[tuple[str | None, str], str] = {}

    def redact_record(self, record: Record, cleaned: Cleaned | None = None) -> Record:
        """As `Redactor.redact_record`, of the next record.

        `cleaned` is what `clean_pieces` said of its message, where that was asked already.
        """
        if cleaned is None and record.type in STREAMED and record.data is not None:
            cleaned = self.clean_pieces(record.data, record.link)
        if cleaned is not None:
            record.data = cleaned.text
        record = self._redactor.redact_record(record)
        if cleaned is not None:
            record.redacted = list(dict.fromkeys([*cleaned.paths, *(record.redacted or ())]))
        return record

    def clean(self, text: str, message_type: str | None, link: str | None) -> str:
        """The text of the next message of a link without its secrets."""
        if message_type in STREAMED:
            cleaned = self.clean_pieces(text, link)
            text = text if cleaned is None else cleaned.text
        return self._redactor.clean(text)

    def clean_pieces(self, text: str, link: str | None) -> Cleaned | None:
        """What only the stream shows to be secret is taken out of a message; None: nothing is.

        Secrets that are whole in it are left to the redactor. A message is to be given once.
        """
        found = {}
        for names, key, chunk, is_last in chunks_of(text, link):
            spans = self._take(key, chunk, is_last=is_last)
            if spans:
                found[names] = spans
        return without(text, found) if found else None

    def _take(self, key: tuple[str | None, str], chunk: str, *, is_last: bool) -> Spans:
        """The places in a chunk that belong to a secret which began before it."""
        before = self._ends.pop(key, "")
        whole = before + chunk
        spans = self._redactor.places(whole)
        start = len(before)
        most = start + _BEFORE_SECRET  # what begins further on is seen in the chunk alone
        if not is_last:
            begun = self._redactor.begun(whole)
            if begun is not None:
                spans = [span for span in spans if span[1] <= begun[0]] + [begun]
                most = len(whole)
            self._remember(key, end_of(whole, spans))
        pieces = [
            (max(0, first - start), last - start, stands_for)
            for first, last, stands_for in spans
            if last > start and first < most
        ]
        return [piece for piece in pieces if not is_already_redacted(chunk[piece[0] : piece[1]])]

    def _remember(self, key: tuple[str | None, str], end: str) -> None:
        self._ends[key] = end
        if len(self._ends) > _MOST_STREAMS:
            del self._ends[next(iter(self._ends))]


def end_of(text: str, spans: Spans) -> str:
    """What must be remembered of a stream: its end, and all of a secret that may go on."""
    start = len(text) - _REMEMBERED
    if spans and spans[-1][1] == len(text):
        start = max(min(start, spans[-1][0] - _BEFORE_SECRET), len(text) - _LONGEST_SECRET)
    return text[max(0, start) :]


def without(text: str, found: dict[tuple[Any, ...], Spans]) -> Cleaned | None:
    """The message with the places of its chunks replaced."""
    pieces: list[str] = []
    paths: list[str] = []
    at = 0
    walk = Walk(text, _nothing_is_secret)
    for leaf in walk:
        if leaf.kind != "string":
            continue
        spans = found.get(tuple(walk.names()))
        if spans is None:
            continue
        inside = unescape(text[leaf.start : leaf.end])
        paths.append(path_of(walk.names()))
        for first, last, stands_for in spans:
            literal = stands_for.replace("\\", "\\\\").replace('"', '\\"')
            pieces += [text[at : leaf.start + inside.place(first)], literal]
            at = leaf.start + inside.place(last)
    return Cleaned("".join([*pieces, text[at:]]), paths) if paths else None


def _nothing_is_secret(_key: str) -> bool:
    return False
