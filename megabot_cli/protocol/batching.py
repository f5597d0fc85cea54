"""Several waiting messages in one `batch`, and out of it again."""

from __future__ import annotations

import msgspec

from megabot_cli.protocol.envelope import wire_size


class Batcher:
    """Collects messages until there are `size`, or `delay_s` after the first.

    One waiting message goes out alone, unwrapped, as the specification shows.
    """

    def __init__(self, size: int = 10, delay_s: float = 0.1, max_bytes: int = 1024 * 1024) -> None:
        self._size = size
        self._delay_s = delay_s
        self._max_bytes = max_bytes
        self._waiting: list[str] = []
        self._bytes = 0
        self.due_at: float | None = None

    def add(self, text: str, now: float) -> list[str]:
        """Take a message; return the messages to wrap and send now, none when all may wait."""
        leaving: list[str] = []
        size = wire_size(text) + 1
        if self._waiting and self._bytes + size > self._max_bytes:
            leaving = self.flush()
        self._waiting.append(text)
        self._bytes += size
        if self.due_at is None:
            self.due_at = now + self._delay_s
        if not leaving and len(self._waiting) >= self._size:
            leaving = self.flush()
        return leaving

    def flush(self) -> list[str]:
        """Return all that waits and forget it."""
        leaving, self._waiting = self._waiting, []
        self._bytes = 200  # what the batch's own envelope takes
        self.due_at = None
        return leaving


def wrap(texts: list[str], message_id: str, at: float) -> str:
    """Make one message of several; each inner text stays exactly as it was."""
    if len(texts) == 1:
        return texts[0]
    inner = ",".join(texts)
    head = msgspec.json.encode(message_id).decode()
    return (
        f'{{"id":{head},"type":"batch","payload":{{"messages":[{inner}]}},'
        f'"timestamp":{round(at, 3)}}}'
    )


class _BatchPayload(msgspec.Struct):
    messages: list[msgspec.Raw]


class _BatchMessage(msgspec.Struct):
    payload: _BatchPayload


_decoder = msgspec.json.Decoder(_BatchMessage)


def unwrap(text: bytes | str) -> list[str]:
    """Return the exact texts inside a batch; none when it does not have the form of one."""
    try:
        return [bytes(raw).decode() for raw in _decoder.decode(text).payload.messages]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
