"""How fast the messages of one connection may be handled. Times are handed in."""

from __future__ import annotations

from collections import deque

import msgspec

from megabot_cli.config.schema import LimitSettings
from megabot_cli.protocol.limits import TokenBucket
from megabot_cli.protocol.messages import Payload
from megabot_cli.protocol.validation import Message

# A hundred messages of a mebibyte each would be 100 MiB for one connection.
MOST_WAITING_BYTES = 8 * 1024 * 1024


class Arrived(msgspec.Struct, frozen=True):
    """A valid message and the text it came as."""

    message: Message[Payload | msgspec.Raw]
    text: bytes


class Inbox:
    """Accepted messages wait here for the rate limit, in order; none is ever dropped.

    A queue of 0 still holds the one message that is just being handled.
    """

    def __init__(self, limits: LimitSettings, now: float) -> None:
        self._bucket = TokenBucket(limits.messages_per_second, limits.burst, now)
        self._most = max(1, limits.queue)
        self._waiting: deque[Arrived] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def accept(self, arrived: list[Arrived]) -> bool:
        """Take all of them, or none and say False when there is not room for all."""
        size = sum(len(one.text) for one in arrived)
        full = len(self._waiting) + len(arrived) > self._most
        if full or (self._waiting and self._bytes + size > MOST_WAITING_BYTES):
            return False
        self._waiting.extend(arrived)
        self._bytes += size
        return True

    def take(self, now: float) -> Arrived | None:
        """The next message, if the rate allows it now."""
        if not self._waiting or not self._bucket.take(now):
            return None
        arrived = self._waiting.popleft()
        self._bytes -= len(arrived.text)
        return arrived

    def wait_s(self, now: float) -> float:
        return self._bucket.wait_s(now)
