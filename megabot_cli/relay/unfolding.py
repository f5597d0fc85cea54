"""What a message holds that is folded: text in gzip, messages in a batch."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from aiohttp import WebSocketError, WSCloseCode

from megabot_cli.errors import BadData
from megabot_cli.protocol.batching import unwrap_at_most
from megabot_cli.protocol.compression import Overlong, beginning, compress, inflate, is_gzip
from megabot_cli.protocol.envelope import UNREADABLE, Head, peek
from megabot_cli.recording.format_v1 import MAX_PAYLOAD_BYTES
from megabot_cli.relay.corner import (
    DEEPEST,
    MOST_IN_A_BATCH,
    without_corner,
    without_inner_corners,
)
from megabot_cli.relay.parts import RelayParts
from megabot_cli.relay.routing import ASKS
from megabot_cli.relay.upstream_queue import Waiting


def text_within(data: bytes, most_bytes: int) -> bytes | None:
    """The text that a binary message holds as gzip; None where it holds none, or more than
    `most_bytes` (0: than a record may hold)."""
    if not is_gzip(data):
        return None
    try:
        return inflate(data, most_bytes or MAX_PAYLOAD_BYTES)
    except BadData:
        return None


# JSON may hide a letter of a word behind an escape.
_BATCH, _ESCAPE = b"batch", b"\\u"

# The id of an envelope that begins with it, as nearly all do.
_ID_FIRST = re.compile(rb'\s*\{\s*"id"\s*:\s*("(?:[^"\\]|\\.){1,200}")')
_LOOK_BYTES = 1024


class Overgrown(Head, gc=False):
    """In the place of the head of a message that unfolds to more than a message may have; `id`
    where that could be told."""

    most_bytes: int = 0


def messages_within(text: bytes, deep: int = 1) -> list[bytes] | None:
    """The exact texts of a batch, those of a batch in it in its place; none where it has not the
    form of one. None where that is more than `MOST_IN_A_BATCH`, or deeper than `DEEPEST`: to
    take it apart would keep everybody waiting, and so nobody can say what is in it."""
    if deep > DEEPEST or (found := unwrap_at_most(text, MOST_IN_A_BATCH)) is None:
        return None
    texts = [each.encode() for each in found]
    if text.count(_BATCH) <= 1 and _ESCAPE not in text:
        return texts
    flat: list[bytes] = []
    for each in texts:
        inner = messages_within(each, deep + 1) if _is_batch(each) else []
        if inner is None:
            return None
        flat += inner or [each]
    return flat if len(flat) <= MOST_IN_A_BATCH else None


def _is_batch(text: bytes) -> bool:
    head = peek(text)
    return head is not None and head.type == "batch"


def too_big() -> WebSocketError:
    """What ends the connection on which something `Overgrown` came that cannot be answered."""
    code = WSCloseCode.MESSAGE_TOO_BIG
    return WebSocketError(code, "uncompressed, a message is longer than any may be")


class Unfolding:
    """The same, within the size that a message may have, or `factor` times that."""

    def __init__(self, parts: RelayParts, factor: int = 1) -> None:
        self._parts = parts
        self._factor = factor

    @property
    def _most_bytes(self) -> int:
        return self._parts.limits.max_message_bytes * self._factor

    def text(self, data: bytes, binary: bool) -> bytes:
        """What of a message can be read; nothing of a binary one that is no gzip."""
        if not binary:
            return data
        return text_within(data, self._most_bytes) or b""

    def head(self, data: bytes) -> Head | None:
        """That of a binary message; `Overgrown` of one that is not read, for it is too long."""
        if not is_gzip(data):
            return None
        try:
            return peek(inflate(data, self._most_bytes or MAX_PAYLOAD_BYTES))
        except Overlong:
            limited = self._most_bytes
            return Overgrown(id=_id_at_the_start(data), most_bytes=limited) if limited else None
        except BadData:
            return None

    def without_corner(self, data: bytes, binary: bool) -> bytes:
        """As `corner.without_corner`; a gzip message is packed anew where the corner was there."""
        return self._inside(without_corner, data) if binary else without_corner(data)

    def without_inner_corners(self, data: bytes, binary: bool) -> bytes:
        """As `corner.without_inner_corners`, in the same way."""
        return self._inside(without_inner_corners, data) if binary else without_inner_corners(data)

    def _inside(self, clean: Callable[[bytes], bytes], data: bytes) -> bytes:
        text = self.text(data, binary=True)
        without = clean(text)
        return data if without is text else compress(without)

    def batched(
        self, client: str, batch: str | None, data: bytes, binary: bool, now: float
    ) -> tuple[Waiting, ...] | None:
        """The messages of a client's batch, whose id is `batch`, each as if it had come by itself;
        None where `messages_within` has that."""
        texts = messages_within(self.text(data, binary))
        if texts is None:
            return None
        inner = []
        for text in texts:
            head = peek(text) or Head()
            asks = head.type if head.type in ASKS else None
            urgent = head.type == "tool_result"
            inner.append(Waiting(client, head.id, text, False, now, asks, urgent, batch=batch))
        return tuple(inner)


class Opaque(Unfolding):
    """Where nobody has agreed on gzip: nothing that is binary is unfolded."""

    def text(self, data: bytes, binary: bool) -> bytes:
        return b"" if binary else data

    def head(self, data: bytes) -> Head | None:
        return None


def _id_at_the_start(data: bytes) -> str | None:
    found = _ID_FIRST.match(beginning(data, _LOOK_BYTES))
    try:
        return msgspec.json.decode(found[1], type=str) if found is not None else None
    except UNREADABLE:
        return None
