"""Requests that went up and have not been answered yet."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from megabot_cli.protocol.envelope import Head

ASKS = frozenset({"chat_send", "tool_call"})  # types that a reply follows
ENDS = frozenset({"chat_receive", "tool_result", "connection_error"})


class Request(msgspec.Struct):
    """One request under way. Times are monotonic seconds."""

    message_id: str
    client: str
    sent_at: float
    first_chunk_at: float | None = None


class Progress(msgspec.Struct, frozen=True):
    """What a message from upstream meant for the request it answers."""

    first_chunk_s: float | None = None
    reply_s: float | None = None


class _ChunkPayload(msgspec.Struct, frozen=True):
    is_complete: bool = False


class _Chunk(msgspec.Struct):
    payload: _ChunkPayload = _ChunkPayload()


_chunk_decoder = msgspec.json.Decoder(_Chunk)


def _completes(data: bytes) -> bool:
    try:
        return _chunk_decoder.decode(data).payload.is_complete
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class PendingRequests:
    """The requests of one link, oldest first; at most `limit`, beyond which the oldest goes.

    An upstream that sets no `metadata.reply_to` answers in order: its replies count for
    the oldest request.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._requests)

    def sent(self, message_id: str, client: str, now: float) -> None:
        self._requests[message_id] = Request(message_id, client, now)
        if len(self._requests) > self._limit:
            self._requests.popitem(last=False)

    def answered(self, head: Head, data: bytes, now: float) -> Progress | None:
        """Note that a message came from upstream; say what it meant, None when nothing."""
        if not self._requests or head.type is None:
            return None
        is_chunk = head.type == "chat_stream"
        if not is_chunk and head.type not in ENDS:
            return None
        request = self._requests.get(head.reply_to) if head.reply_to else self._oldest()
        if request is None:
            return None
        first_chunk_s = None
        if is_chunk and request.first_chunk_at is None:
            request.first_chunk_at = now
            first_chunk_s = now - request.sent_at
        if is_chunk and not _completes(data):
            return Progress(first_chunk_s=first_chunk_s)
        del self._requests[request.message_id]
        return Progress(first_chunk_s=first_chunk_s, reply_s=now - request.sent_at)

    def _oldest(self) -> Request | None:
        return next(iter(self._requests.values()), None)

    def take_all(self) -> list[Request]:
        """Take out every request, oldest first."""
        requests = list(self._requests.values())
        self._requests.clear()
        return requests

    def take(self, message_ids: list[str]) -> list[Request]:
        """Take out those of `message_ids` that are still unanswered."""
        return [self._requests.pop(each) for each in message_ids if each in self._requests]

    def ids(self) -> list[str]:
        return list(self._requests)
