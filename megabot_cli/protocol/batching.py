"""Several waiting messages in one `batch`, and out of it again."""

from __future__ import annotations

from typing import Literal

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE, peek, wire_size
from megabot_cli.protocol.messages import MAX_BATCH
from megabot_cli.protocol.validation import check

# What the batch's own envelope takes, with an id of up to 100 bytes.
ENVELOPE_BYTES = 200


class Batcher:
    """Collects messages until there are `size`, or `delay_s` after the first.

    One waiting message goes out alone, unwrapped, as the specification shows. So does one
    that a batch must not hold (not valid, or a batch itself): it would cost the others
    their delivery. The owner calls `flush` at `due_at`. Order is kept. `size` is at most
    `MAX_BATCH`; 0 means that, and 0 for `max_bytes` is no limit.
    """

    def __init__(self, size: int = 10, delay_s: float = 0.1, max_bytes: int = 1024 * 1024) -> None:
        self._size = min(size, MAX_BATCH) if size > 0 else MAX_BATCH
        self._delay_s = delay_s
        self._max_bytes = max_bytes
        self._waiting: list[str] = []
        self._bytes = ENVELOPE_BYTES
        self._alone = False  # what waits is one message that no other may join
        self.due_at: float | None = None

    def add(self, text: str, now: float) -> list[str]:
        """Take a message; return the messages to wrap and send now, none when all may wait.

        `due_at` is `now` at once when the message itself must go alone after those.
        """
        size = wire_size(text) + 1
        alone = not may_be_wrapped(text)
        leaving: list[str] = []
        if self._waiting and (alone or self._alone or self._overfull(size)):
            leaving = self.flush()
        self._waiting.append(text)
        self._bytes += size
        self._alone = alone
        if self.due_at is None:
            self.due_at = now if alone else now + self._delay_s
        if not leaving and (len(self._waiting) >= self._size or self.due_at <= now):
            leaving = self.flush()
        return leaving

    def _overfull(self, more: int) -> bool:
        return bool(self._max_bytes) and self._bytes + more > self._max_bytes

    def flush(self) -> list[str]:
        """Return all that waits and forget it."""
        leaving, self._waiting = self._waiting, []
        self._bytes = ENVELOPE_BYTES
        self._alone = False
        self.due_at = None
        return leaving


def may_be_wrapped(text: bytes | str) -> bool:
    """Whether a batch may hold this message: a valid one that is no batch itself."""
    head = peek(text)
    return head is not None and head.type != "batch" and check(text, max_bytes=0) is None


def wrap(texts: list[str], message_id: str, at: float) -> str:
    """Make one message of several, at least one; each inner text stays exactly as it was."""
    if not texts:
        raise ValueError("a batch holds at least one message")
    if len(texts) == 1:
        return texts[0]
    inner = ",".join(texts)
    head = msgspec.json.encode(message_id).decode()
    return (
        f'{{"id":{head},"type":"batch","payload":{{"messages":[{inner}]}},'
        f'"timestamp":{round(at, 3)}}}'
    )


def counts_as(data: bytes) -> int:
    """How many messages this is for a limit: those in it, if it is a batch.

    What says that it is one and is none is refused as a whole, and counts as one.
    """
    if b"batch" not in data:
        return 1
    return min(len(_messages_in(data)) or 1, MAX_BATCH)


class _BatchPayload(msgspec.Struct):
    messages: list[msgspec.Raw]


class _BatchMessage(msgspec.Struct):
    type: Literal["batch"]
    payload: _BatchPayload


_decoder = msgspec.json.Decoder(_BatchMessage)


def unwrap(text: bytes | str) -> list[str]:
    """Return the exact texts inside a batch, but for the white space around each.

    Empty when it is no batch or does not have the form of one.
    """
    return unwrap_at_most(text, None) or []


def unwrap_at_most(text: bytes | str, most: int | None) -> list[str] | None:
    """As `unwrap`; None when it holds more than `most`."""
    found = _messages_in(text)
    if most is not None and len(found) > most:
        return None
    try:
        return [bytes(raw).decode() for raw in found]
    except UNREADABLE:
        return []


def _messages_in(text: bytes | str) -> list[msgspec.Raw]:
    try:
        return _decoder.decode(text).payload.messages
    except UNREADABLE:
        return []
