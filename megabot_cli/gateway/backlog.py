"""What a session has still to deliver while nobody is connected to it."""

from __future__ import annotations

from collections import deque


class Backlog:
    """The newest messages, bounded in number and bytes; `dropped` counts what had to go."""

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self.dropped = 0
        self.changes = 0  # so many times it has changed

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: bytes) -> None:
        self.changes += 1
        self._messages.append(message)
        self._bytes += len(message)
        while len(self._messages) > self._most_messages or self._bytes > self._most_bytes:
            self._bytes -= len(self._messages.popleft())
            self.dropped += 1

    def held(self) -> list[bytes]:
        """What is in it, in order."""
        return list(self._messages)

    def take(self) -> tuple[list[bytes], int]:
        """All of it in order, and how many older ones are gone; then it is empty."""
        self.changes += bool(self._messages)
        taken, dropped = list(self._messages), self.dropped
        self._messages.clear()
        self._bytes = 0
        self.dropped = 0
        return taken, dropped
