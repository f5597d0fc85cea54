"""What a client does with what comes: it waits for whoever iterates, or is told at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from megabot_cli.client.correlation import Correlation
from megabot_cli.client.inbox import Inbox
from megabot_cli.client.kept_connection import KeptConnection
from megabot_cli.client.observing import MessageLog
from megabot_cli.client.reacting import Reacting
from megabot_cli.client.received import Received
from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.envelope import peek


class Receiving(Reacting):
    """The receiving half of a client. `on_gap` hears how many messages an iteration missed."""

    def __init__(self, log_messages: int | MessageLog, on_gap: Callable[[int], None]) -> None:
        super().__init__(log_messages)
        self._questions = Correlation()
        self._inbox = Inbox(on_gap)
        self._listening: Callable[[Received], None] | None = None
        self._connection: KeptConnection | None = None

    @property
    def missed(self) -> int:
        """Messages that came but were let go before anybody iterated so far."""
        return self._inbox.missed

    def __aiter__(self) -> AsyncIterator[Received]:
        """Every message in order, from the greeting on, those that came before included.

        Ends when the client or the upstream closes; raises what the client ended with when
        it had to give up. At most 10 000 messages (64 Mi characters) wait for a reader:
        beyond that the oldest go, counted in `missed` and told as a `dropped` event. Two
        iterations at the same time share the messages between them.
        """
        return aiter(self._inbox)

    async def listen(
        self, texts: Callable[[list[bytes]], None], others: Callable[[Received], None]
    ) -> None:
        """Tell what comes at once, and nobody else: `texts` the plain ones that came together,
        unread, `others` every other message. Both return at once; what they raise ends the client.

        Returns when the client is closed; raises as iteration does.
        """

        def take(came: list[bytes]) -> None:
            for text in came if self._log is not None else ():
                self._arrived(text, binary=False)
            self._came(came)
            texts(came)

        self._check_open()
        self._listening = others
        if self._connection is not None:
            self._connection.deliver(take)
        while waiting := await self._inbox.get_all():
            for received in waiting:
                others(received)

    def _check_open(self) -> None:
        if self.state == "new":
            raise RuntimeError("the client is not open: use `async with`")

    def _heard(self, received: Received) -> None:
        """One message, or those in a batch, each for itself."""
        whole = received.text if received.packed is None else received.packed
        self._arrived(whole, binary=isinstance(whole, bytes))
        inner = unwrap(received.text) if received.head and received.head.type == "batch" else []
        for text in inner:
            self._take(Received(text, peek(text), received.at, received.folded))
        if not inner:
            self._take(received)

    def _take(self, received: Received) -> None:
        self._came((received.text,))
        if received.head is not None and received.head.type == "connection_error":
            self._meter.errors += 1
        if self._listening is not None:
            self._listening(received)
            return
        self._inbox.put(received)
        self._questions.see(received, time.monotonic())
        if self._handlers:
            self._handlers.dispatch(received)
