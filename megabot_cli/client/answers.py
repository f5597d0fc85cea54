"""One answer, growing: what came for one message of ours, and whether it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import msgspec

from megabot_cli.client.received import Received
from megabot_cli.client.refusals import refusal_error, refusal_from
from megabot_cli.errors import MegabotError, UpstreamRefused
from megabot_cli.protocol.envelope import UNREADABLE
from megabot_cli.protocol.messages import ChatStream
from megabot_cli.protocol.streams import Fault, Stream, joined_in

# An answer beyond this is let go: an upstream that never ends must not fill our memory.
MOST_CHARACTERS = 64 * 1024 * 1024

Until = str | Callable[[Received], bool] | None


class Answer(msgspec.Struct, frozen=True):
    """One whole answer. Times are seconds since the message was sent."""

    text: str  # of the chat_receive, else of the chunks in their order; empty for other types
    reply_to: str  # the id of the message it answers
    chunks: int
    total_s: float  # to the last message of the answer
    first_chunk_s: float | None = None
    holes: int = 0  # places where a chunk was missing when the next one came
    repeats: int = 0  # chunks that came once more; they are not in the text again
    missing: int = 0  # chunks that never came, and no chat_receive made up for them
    finished: bool = True  # False: some are missing
    messages: tuple[str, ...] = ()  # exactly as they came
    came_at: tuple[float, ...] = ()  # when each of them did, Unix seconds

    @property
    def message_ids(self) -> tuple[str, ...]:
        ids = (_field(text, "id") for text in self.messages)
        return tuple(found for found in ids if isinstance(found, str))


class Phase(Enum):
    WAITING = auto()
    STREAMED = auto()  # the stream is whole; a chat_receive with all of it may follow
    DONE = auto()


class _Chunk(msgspec.Struct):
    payload: ChatStream


class _Content(msgspec.Struct):
    content: str


class _Whole(msgspec.Struct):
    payload: _Content


class _Fields(msgspec.Struct):
    id: Any = None
    payload: Any = None


_chunk_decoder = msgspec.json.Decoder(_Chunk)
_whole_decoder = msgspec.json.Decoder(_Whole)
_fields_decoder = msgspec.json.Decoder(_Fields)

# These say that something goes on; they never are the answer to a chat_send or tool_call.
_OWN_ENDS = {
    "chat_send": frozenset({"chat_receive"}),
    "tool_call": frozenset({"tool_result", "chat_receive"}),
}


class PendingAnswer:
    """A message that was asked and what has come for it so far.

    `until` None: the answer has its own end, a completed stream and the `chat_receive`
    after it, a `tool_result`, or for other types of message whatever names it. A type:
    the first message of that type. A function: the first message it is true for.
    Times are monotonic seconds, handed in.
    """

    def __init__(
        self,
        message_id: str,
        message_type: str,
        payload: Any = None,
        *,
        until: Until = None,
    ) -> None:
        self.message_id = message_id
        self.message_type = message_type
        execution_id = payload.get("execution_id") if isinstance(payload, dict) else None
        self.execution_id = execution_id if isinstance(execution_id, str) else None
        self.until = until
        self.phase = Phase.WAITING
        self.fault: MegabotError | None = None
        self.stream_id: str | None = None
        self.chunks = 0
        self.sent_at: float | None = None
        self.changed = asyncio.Event()
        self.whole: str | None = None
        self._stream = Stream()
        self._ready: list[str] = []
        self._shown = 0  # characters of the answer that were ready so far
        self._messages: list[str] = []
        self._came_at: list[float] = []
        self._characters = 0
        self._first_chunk_at: float | None = None
        self._last_at = 0.0

    def sent(self, now: float) -> None:
        """The message is about to leave: from now on something may answer it."""
        self.sent_at = now

    @property
    def text(self) -> str:
        return self.whole if self.whole is not None else self._stream.text

    def matches(self, received: Received) -> bool:
        """Whether `until` says that this message ends the wait."""
        match self.until:
            case None:
                return False
            case str() as kind:
                head = received.head
                names_us = head is not None and head.reply_to in (None, self.message_id)
                return names_us and head is not None and head.type == kind
            case matches:
                return matches(received)

    def take(self, received: Received, now: float) -> None:
        """Add a message that belongs to this answer."""
        if self.phase is Phase.DONE:
            return
        self._keep(received, now)
        if self._characters > MOST_CHARACTERS:
            size = f"{MOST_CHARACTERS // 2**20} MiB"
            self.fail(UpstreamRefused(f"The answer was let go: it is longer than {size}"))
            return
        kind = received.head.type if received.head is not None else None
        match kind:
            case "connection_error":
                self.fail(_refusal(received))
            case "chat_stream":
                self._add_chunk(received, now)
            case "chat_receive":
                self._add_whole(received)
        if self.fault is None and self._ends(received, kind):
            self.finish()
        self.changed.set()

    def _keep(self, received: Received, now: float) -> None:
        self._last_at = now
        self._characters += received.size
        if isinstance(received.text, str):
            self._messages.append(received.text)
            self._came_at.append(received.at)

    def _ends(self, received: Received, kind: str | None) -> bool:
        if self.until is not None:
            return self.matches(received)
        ends = _OWN_ENDS.get(self.message_type)
        return kind in ends if ends is not None else kind != "chat_stream"

    def _add_chunk(self, received: Received, now: float) -> None:
        try:
            chunk = _chunk_decoder.decode(received.text).payload
        except UNREADABLE as fault:
            self.fail(_unreadable(received, fault))
            return
        self.stream_id = self.stream_id or chunk.stream_id
        if self._first_chunk_at is None:
            self._first_chunk_at = now
        step = self._stream.add(chunk, joined_in(received.text))
        if step.fault not in (Fault.REPEAT, Fault.LATE):
            self.chunks += 1
        self._make_ready(step.ready)
        if step.finished and self.until is None and self.phase is Phase.WAITING:
            self.phase = Phase.STREAMED

    def _add_whole(self, received: Received) -> None:
        """A chat_receive holds all the text: make ready what no chunk has brought."""
        try:
            self.whole = _whole_decoder.decode(received.text).payload.content
        except UNREADABLE as fault:
            self.fail(_unreadable(received, fault))
            return
        shown = self._stream.text[: self._shown]
        if self.whole.startswith(shown):
            self._make_ready(self.whole[len(shown) :])

    def _make_ready(self, text: str) -> None:
        if text:
            self._ready.append(text)
            self._shown += len(text)

    def take_ready(self) -> str:
        """The text that has become known since the last call."""
        ready, self._ready = "".join(self._ready), []
        return ready

    def finish(self) -> None:
        if self.phase is not Phase.DONE:
            self.phase = Phase.DONE
            self.changed.set()

    def fail(self, fault: MegabotError) -> None:
        """End the wait with an error; an answer that is whole stays one."""
        if self.phase is Phase.WAITING:
            self.fault = fault
        self.finish()

    def answer(self) -> Answer:
        """What came. Only when the phase is DONE and there is no fault."""
        began = self.sent_at if self.sent_at is not None else self._last_at
        first = self._first_chunk_at
        missing = 0 if self.whole is not None else self._stream.missing
        return Answer(
            text=self.text,
            reply_to=self.message_id,
            chunks=self.chunks,
            total_s=max(0.0, self._last_at - began),
            first_chunk_s=None if first is None else max(0.0, first - began),
            holes=self._stream.holes,
            repeats=self._stream.repeats,
            missing=missing,
            finished=not missing,
            messages=tuple(self._messages),
            came_at=tuple(self._came_at),
        )


def payload_field(text: str | bytes, name: str) -> Any:
    """One field of a message's payload; None when there is none."""
    payload = _field(text, "payload")
    return payload.get(name) if isinstance(payload, dict) else None


def _field(text: str | bytes, name: str) -> Any:
    try:
        return getattr(_fields_decoder.decode(text), name)
    except UNREADABLE:
        return None


def _refusal(received: Received) -> MegabotError:
    return refusal_error(refusal_from(received.payload()), "The upstream")


def _unreadable(received: Received, fault: Exception) -> MegabotError:
    kind = received.head.type if received.head is not None else "message"
    return UpstreamRefused(
        f"The upstream sent a {kind} that cannot be read: {fault}",
        "`megabot doctor` looks at what it speaks.",
    )
