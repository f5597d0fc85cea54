"""What a client hears: messages, and what becomes of its connection."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE, Head

EventKind = Literal["open", "lost", "retry", "resumed", "new_session", "dropped", "closed"]


class Received(msgspec.Struct, frozen=True):
    """One message, exactly as it came: text, or bytes when it was binary."""

    text: str | bytes
    head: Head | None  # None: binary, or no JSON object
    at: float  # Unix seconds
    folded: bool = False  # it travelled as gzip
    packed: bytes | None = None  # that gzip, where it held nothing but this

    def payload(self) -> Any:
        """The payload as Python values; None when the message has none that can be read."""
        try:
            message = msgspec.json.decode(self.text)
        except UNREADABLE:
            return None
        return message.get("payload") if isinstance(message, dict) else None

    @property
    def size(self) -> int:
        return len(self.text)


class ClientEvent(msgspec.Struct, frozen=True):
    """Something about the connection: what happened, and the session in force.

    `open` at first; `lost`, then `retry` before each attempt, then `resumed` or
    `new_session`; `dropped` when messages came faster than they were read; `closed` at last.
    """

    kind: EventKind
    session_id: str | None = None
    detail: str | None = None
    close_code: int | None = None
    attempt: int = 0  # retry: which one, from 1
    delay_s: float = 0.0  # retry: the pause before it
    missed: int = 0  # dropped: how many messages
