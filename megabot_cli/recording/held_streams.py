"""Take secrets that are cut in pieces wholly out of a recording that is there already.

Who writes a recording again need not let go of a chunk before it is known what follows: records
are held back until the streams in them have gone on for a while or ended. They come out in the
order in which they went in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.stream_redaction import (
    STREAMED,
    Cleaned,
    Spans,
    chunks_of,
    end_of,
    without,
)

HELD_CHARACTERS: Final = 4096  # of a stream: a secret that is no longer is found whole
_LONGEST_SECRET: Final = 65_536  # one that is known to go on is waited for so long
_MOST_HELD_BYTES: Final = 8 * 1024 * 1024  # of lines, over all streams
_MOST_HELD: Final = 20_000

_OF_ITS_OWN: Final = ("id", "type", "reply_to", "reason", "note", "by")

Line = tuple[Record, bytes]
Ready = tuple[Record, bytes, Cleaned | None]
_Names = tuple[Any, ...]


def without_secrets(redactor: Redactor, record: Record, cleaned: Cleaned | None) -> Record:
    """The record without its own secrets, and without those that its stream showed."""
    clean = msgspec.structs.replace(record)
    if clean.redacted:  # a path names keys, and one may be a secret
        clean.redacted = [redactor.clean(path) for path in clean.redacted]
    paths = [*(clean.redacted or ()), *(cleaned.paths if cleaned is not None else ())]
    if cleaned is not None:
        clean.data = cleaned.text
    clean = redactor.redact_record(clean)
    # A recorder copies these out of the payload; nobody knows who wrote the file read here.
    for name in _OF_ITS_OWN:
        text = getattr(clean, name)
        if text is not None:
            setattr(clean, name, redactor.clean(text))
    if clean.redacted is not None or paths:
        clean.redacted = list(dict.fromkeys([*paths, *(clean.redacted or ())]))
    return clean


class _Held(msgspec.Struct, eq=False):
    """A record that waits, for so many chunks of it; what is to go from each of them."""

    record: Record
    line: bytes
    waits_for: dict[_Names, tuple[str | None, str]]
    found: dict[_Names, Spans]


class _Stream(msgspec.Struct, eq=False):
    """The end of what was let go of a stream, and its chunks that are held back."""

    before: str = ""
    chunks: list[tuple[_Held, _Names, str]] = []
    length: int = 0  # of the chunks together
    looked_at: int = 0  # of these when they were looked at last


class HeldStreams:
    """Gives records on, each with what the whole of its streams shows to be secret in it."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._queue: deque[_Held] = deque()
        self._bytes = 0
        self._streams: dict[tuple[str | None, str], _Stream] = {}

    def through(self, lines: Iterable[Line]) -> Iterator[Ready]:
        """All of the lines, in order."""
        for record, line in lines:
            yield from self.add(record, line)
        yield from self.rest()

    def add(self, record: Record, line: bytes) -> Iterator[Ready]:
        """Take the next record; give those that nothing is waited for any more."""
        held = _Held(record, line, {}, {})
        self._queue.append(held)
        self._bytes += len(line)
        if record.data is not None and record.type in STREAMED:
            for names, key, text, is_last in chunks_of(record.data, record.link):
                self._hold(held, names, key, text)
                self._decide(key, all_of_it=is_last)
                if is_last:
                    del self._streams[key]
        yield from self._ready()
        while self._bytes > _MOST_HELD_BYTES or len(self._queue) > _MOST_HELD:
            self._release_first()
            yield from self._ready()

    def rest(self) -> Iterator[Ready]:
        """What is held back still, when nothing more comes."""
        while self._queue:
            self._release_first()
            yield from self._ready()

    def _hold(self, held: _Held, names: _Names, key: tuple[str | None, str], text: str) -> None:
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
            if len(self._streams) > _MOST_HELD:
                self._forget_one()
        stream.chunks.append((held, names, text))
        stream.length += len(text)
        held.waits_for[names] = key

    def _forget_one(self) -> None:
        """Let go of a stream that nothing is held back of."""
        for key, stream in self._streams.items():
            if not stream.chunks:
                del self._streams[key]
                return

    def _ready(self) -> Iterator[Ready]:
        while self._queue and not self._queue[0].waits_for:
            held = self._queue.popleft()
            self._bytes -= len(held.line)
            cleaned = without(held.record.data or "", held.found) if held.found else None
            yield held.record, held.line, cleaned

    def _release_first(self) -> None:
        for key in set(self._queue[0].waits_for.values()):
            self._decide(key, all_of_it=True)

    def _decide(self, key: tuple[str | None, str], *, all_of_it: bool) -> None:
        """Find the secrets in a stream and let go of its older chunks; seldom, for it costs."""
        stream = self._streams[key]
        if not all_of_it and stream.length < stream.looked_at + 2 * HELD_CHARACTERS:
            return
        text = stream.before + "".join(chunk for _, _, chunk in stream.chunks)
        spans = self._redactor.places(text)
        border = len(text)
        if not all_of_it:
            border -= HELD_CHARACTERS
            for first, last, _ in spans:
                if first < border < last and len(text) - first < _LONGEST_SECRET:
                    border = first
        at = len(stream.before)
        let_go = 0
        for held, names, chunk in stream.chunks:
            if at + len(chunk) > border:
                break
            here = self._pieces(chunk, at, spans, len(stream.before))
            if here:
                held.found[names] = here
            del held.waits_for[names]
            at += len(chunk)
            let_go += 1
        del stream.chunks[:let_go]
        stream.length = len(text) - at
        stream.looked_at = max(0, stream.length - HELD_CHARACTERS)
        told = [span for span in spans if span[0] < at]
        stream.before = end_of(text[:at], [(a, min(b, at), to) for a, b, to in told])

    def _pieces(self, chunk: str, at: int, spans: Spans, begin: int) -> Spans:
        """What of a chunk is secret. The pseudonym stands where the secret begins."""
        end = at + len(chunk)
        here = [
            (max(first, at) - at, min(last, end) - at, to if max(first, begin) >= at else "")
            for first, last, to in spans
            if last > at and first < end
        ]
        if not here:
            return here
        # What the chunk shows alone is the redactor's.
        alone = {(first, last) for first, last, _ in self._redactor.places(chunk)}
        return [piece for piece in here if not piece[2] or piece[:2] not in alone]
