"""Put the `chat_stream` chunks of one answer together again.

Which chunks belong together: the same `metadata.reply_to`, else the same
`payload.stream_id`, else the session's one current stream. `sequence` starts at 1.
A chunk that ends an answer ends it for good: what comes later is told as late and changes
nothing, unless it is a first chunk, which begins another answer under the same name
(senders use ids again). A relay may have joined several chunks in one message, for a client that
lags: that has the `sequence` of the last of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE, Head
from megabot_cli.protocol.messages import ChatStream

T = TypeVar("T")

_CURRENT = "session:"


class Fault(StrEnum):
    """What was wrong with the order in which chunks came."""

    HOLE = "hole"  # the chunk before this one has not come (told once, where the hole opens)
    REPEAT = "repeat"  # its sequence number came before; its text is not taken
    LATE = "late"  # the answer was whole already; its text is not taken


class Step(msgspec.Struct, frozen=True):
    """What one chunk brought: text that may be shown now, and whether it made the answer whole.

    Exactly one step of an answer is `finished`; a late chunk's is not.
    """

    ready: str
    finished: bool
    fault: Fault | None = None


class Stream:
    """One answer, growing. `text` is all of it so far, in sequence order."""

    def __init__(self) -> None:
        self._ready: list[str] = []
        # Beyond a hole, by the first number of each: the last of it, which is most often the
        # same, and its text.
        self._waiting: dict[int, tuple[int, str]] = {}
        self._next = 1
        self._taken = 0
        self._lowest = 0
        self.highest = 0  # the last sequence number seen
        self.finished = False
        self.holes = 0
        self.repeats = 0

    @property
    def text(self) -> str:
        return "".join(self._ready) + self._text_beyond()

    @property
    def missing(self) -> int:
        """How many of the chunks up to the highest have not come."""
        return max(0, self.highest - self._taken)

    @property
    def lacks_its_beginning(self) -> bool:
        """Whether all that is missing comes before the first chunk that was seen: who looks on
        from the middle misses no more."""
        return self._lowest > 1 and self.missing == self._lowest - 1

    def add(self, chunk: ChatStream, joined: int = 1) -> Step:
        """Take one chunk, or so many that are `joined`. Text beyond a hole waits until that is
        filled or the answer ends."""
        if self.finished:
            return Step("", finished=False, fault=Fault.LATE)
        first = max(1, chunk.sequence - joined + 1)
        fault = self._note(first, chunk.sequence)
        ready = ""
        if fault is not Fault.REPEAT:
            self._taken += chunk.sequence - first + 1
            self._waiting[max(first, self._next)] = (chunk.sequence, chunk.chunk)
            ready = self._take_consecutive()
        if chunk.is_complete:
            ready += self._finish()
        return Step(ready, finished=self.finished, fault=fault)

    def _note(self, first: int, last: int) -> Fault | None:
        if last < self._next or first in self._waiting:
            self.repeats += 1
            return Fault.REPEAT
        self._lowest = min(first, self._lowest or first)
        opens_a_hole = first > self.highest + 1
        self.highest = max(self.highest, last)
        if opens_a_hole:
            self.holes += 1
            return Fault.HOLE
        return None

    def _take_consecutive(self) -> str:
        taken = []
        while self._next in self._waiting:
            last, text = self._waiting.pop(self._next)
            taken.append(text)
            self._next = last + 1
        self._ready.extend(taken)
        return "".join(taken)

    def _text_beyond(self) -> str:
        return "".join(self._waiting[n][1] for n in sorted(self._waiting))

    def _finish(self) -> str:
        rest = self._text_beyond()
        # One text, for a list of its chunks takes ten times as much memory.
        self._ready = ["".join((*self._ready, rest))]
        self._waiting.clear()
        self.finished = True
        return rest


class _Joined(msgspec.Struct):
    metadata: Any = None


_joined_decoder = msgspec.json.Decoder(_Joined)


def joined_in(text: str | bytes) -> int:
    """How many chunks of the upstream's a `chat_stream` message is: a relay says so in
    `metadata.merged`."""
    if ('"merged"' if isinstance(text, str) else b'"merged"') not in text:  # type: ignore[operator]
        return 1
    try:
        metadata = _joined_decoder.decode(text).metadata
    except UNREADABLE:
        return 1
    count = metadata.get("merged") if isinstance(metadata, dict) else None
    return count if isinstance(count, int) and count > 0 else 1


def stream_key(head: Head, chunk: ChatStream) -> str:
    """Name the answer a chunk belongs to, by the first rule that applies."""
    if head.reply_to:
        return f"reply_to:{head.reply_to}"
    if chunk.stream_id:
        return f"stream_id:{chunk.stream_id}"
    return f"{_CURRENT}{head.session_id or ''}"


class StreamTable:
    """All answers that are under way on one connection.

    At most `limit` at once: the one that has been silent longest is let go, so a peer
    that never finishes a stream cannot fill our memory. As many finished ones are
    remembered by name, so that a late chunk is known as one.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._streams: dict[str, Stream] = {}
        self._finished: dict[str, int] = {}  # the highest sequence number of each
        self._limit = limit

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, head: Head, chunk: ChatStream, joined: int = 1) -> tuple[str, Stream, Step]:
        """Return the answer's key, the answer and what the chunk brought to it.

        A late chunk comes with an empty stream: the answer's text was given when it ended.
        """
        key = stream_key(head, chunk)
        stream = self._streams.pop(key, None)
        if stream is None:
            stream = Stream()
            stream.finished = self._is_late(key, chunk.sequence)
        step = stream.add(chunk, joined)
        if step.finished:
            _remember(self._finished, key, stream.highest, self._limit)
        elif not stream.finished:
            _remember(self._streams, key, stream, self._limit)
        return key, stream, step

    def _is_late(self, key: str, sequence: int) -> bool:
        highest = self._finished.get(key)
        if highest is None or sequence == 1:
            return False
        # "The current stream" names no answer: beyond the last one's end it is the next
        # answer, whose first chunk we missed.
        return sequence <= highest or not key.startswith(_CURRENT)


def _remember(table: dict[str, T], key: str, value: T, limit: int) -> None:
    """Put in last, and let the first go beyond `limit`: it has been silent longest."""
    table.pop(key, None)
    table[key] = value
    if len(table) > limit:
        del table[next(iter(table))]
