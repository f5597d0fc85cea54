"""Several messages for one client in one `batch`, where it asked for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from megabot_cli.client.ids import new_id
from megabot_cli.protocol.batching import Batcher, unwrap, wrap
from megabot_cli.protocol.envelope import peek

DELAY_S = 0.1  # as the specification's batcher waits
# What is about the connection itself comes at once and by itself.
ALONE = frozenset({"connection_established", "connection_error"})

_SIGNATURE_BYTES = 200  # what signing adds to a batch, beyond the messages in it


class Bundle:
    """Collects what is to leave; `write` gets each message or batch, and keeps their order."""

    def __init__(
        self, size: int, max_message_bytes: int, write: Callable[[bytes, bool], None]
    ) -> None:
        """`write(text, wrapped)`: `wrapped` is True for a batch that was made here."""
        most_bytes = max_message_bytes and max(1, max_message_bytes - _SIGNATURE_BYTES)
        self._batcher = Batcher(size, DELAY_S, most_bytes)
        self._write = write
        self._timer: asyncio.TimerHandle | None = None

    def add(self, message: bytes) -> None:
        """Let a message wait for others, a tenth of a second at most."""
        head = peek(message)
        if head is not None and head.type in ALONE:
            self.flush()
            self._write(message, False)
            return
        now = asyncio.get_running_loop().time()
        self._leave(self._batcher.add(message.decode("utf-8", "surrogatepass"), now))
        due_at = self._batcher.due_at
        if due_at is not None and due_at <= now:
            self.flush()
        elif due_at is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due_at, self.flush)

    def flush(self) -> None:
        """Let all that waits leave now."""
        self._leave(self._batcher.flush())

    def finish(self) -> list[bytes]:
        """Write no more; return what was not written."""
        self._stop_timer()
        return [text.encode("utf-8", "surrogatepass") for text in self._batcher.flush()]

    def _leave(self, texts: list[str]) -> None:
        if not texts:
            return
        self._stop_timer()
        whole = wrap(texts, new_id("msg"), time.time())
        self._write(whole.encode("utf-8", "surrogatepass"), len(texts) > 1)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def unbundled(messages: list[bytes]) -> list[bytes]:
    """The messages by themselves again, for a connection that may not want them together."""
    single: list[bytes] = []
    for message in messages:
        single += [inner.encode() for inner in unwrap(message)] or [message]
    return single
