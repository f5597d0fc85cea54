"""Put the `chat_stream` chunks of one answer together again.

Which chunks belong together: the same `metadata.reply_to`, else the same
`payload.stream_id`, else the session's one current stream. `sequence` starts at 1.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from megabot_cli.protocol.envelope import Head
from megabot_cli.protocol.messages import ChatStream


class Fault(StrEnum):
    """What was wrong with the order in which chunks came."""

    HOLE = "hole"
    REPEAT = "repeat"
    LATE = "late"


class Step(msgspec.Struct, frozen=True):
    """What one chunk brought: text that may be shown now, and whether the answer is whole."""

    ready: str
    finished: bool
    fault: Fault | None = None


class Stream:
    """One answer, growing. `text` is all of it so far, in sequence order."""

    def __init__(self) -> None:
        self._ready: list[str] = []
        self._waiting: dict[int, str] = {}  # chunks beyond a hole
        self._next = 1
        self.finished = False
        self.holes = 0
        self.repeats = 0

    @property
    def text(self) -> str:
        return "".join(self._ready) + "".join(self._waiting[n] for n in sorted(self._waiting))

    def add(self, chunk: ChatStream) -> Step:
        """Take one chunk. Text beyond a hole waits until that is filled or the answer ends."""
        if self.finished:
            return Step("", finished=True, fault=Fault.LATE)
        if chunk.sequence < self._next or chunk.sequence in self._waiting:
            self.repeats += 1
            if not chunk.is_complete:
                return Step("", finished=False, fault=Fault.REPEAT)
            return Step(self._finish(), finished=True, fault=Fault.REPEAT)
        self._waiting[chunk.sequence] = chunk.chunk
        ready = self._take_consecutive()
        fault = Fault.HOLE if self._waiting else None
        if fault is not None:
            self.holes += 1
        if chunk.is_complete:
            ready += self._finish()
        return Step(ready, finished=self.finished, fault=fault)

    def _take_consecutive(self) -> str:
        taken = []
        while self._next in self._waiting:
            taken.append(self._waiting.pop(self._next))
            self._next += 1
        self._ready.extend(taken)
        return "".join(taken)

    def _finish(self) -> str:
        rest = "".join(self._waiting[n] for n in sorted(self._waiting))
        self._ready.append(rest)
        self._waiting.clear()
        self.finished = True
        return rest


def stream_key(head: Head, chunk: ChatStream) -> str:
    """Name the answer a chunk belongs to, by the first rule that applies."""
    if head.reply_to:
        return f"reply_to:{head.reply_to}"
    if chunk.stream_id:
        return f"stream_id:{chunk.stream_id}"
    return f"session:{head.session_id or ''}"


class StreamTable:
    """All answers that are under way on one connection.

    At most `limit` at once: the one that has been silent longest is let go, so a peer
    that never finishes a stream cannot fill our memory.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._streams: dict[str, Stream] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, head: Head, chunk: ChatStream) -> tuple[str, Stream, Step]:
        """Return the answer's key, the answer and what the chunk brought to it."""
        key = stream_key(head, chunk)
        stream = self._streams.pop(key, None) or Stream()
        step = stream.add(chunk)
        if not stream.finished:
            self._streams[key] = stream  # re-inserted last: the first is the longest silent
            if len(self._streams) > self._limit:
                del self._streams[next(iter(self._streams))]
        return key, stream, step
