"""Join what comes from upstream with the request it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from megabot_cli.client.refusals import refusal_error
from megabot_cli.errors import BadData, MegabotError
from megabot_cli.protocol.envelope import Envelope, Head, open_envelope
from megabot_cli.protocol.messages import ChatReceive, ChatStream, ConnectionRefusal
from megabot_cli.protocol.streams import Stream

# An upstream that sets no reply_to may or may not send a chat_receive after its stream.
AFTERWORD_S = 0.25

ENDS = frozenset({"chat_receive", "tool_result"})


class Answer(msgspec.Struct, frozen=True):
    """One whole answer. Times are seconds since the request was sent."""

    text: str
    reply_to: str
    chunks: int
    total_s: float
    first_chunk_s: float | None = None
    holes: int = 0
    messages: tuple[str, ...] = ()


class _Keys(msgspec.Struct):
    execution_id: str | None = None


class PendingAnswer:
    """One request whose answer has not come whole.

    Its messages are those with `metadata.reply_to` or `payload.execution_id` of the
    request; where an upstream sets neither and nothing else was asked, all answers are ours.
    """

    def __init__(
        self,
        message_id: str,
        keys: set[str],
        *,
        until: str | None,
        on_chunk: Callable[[str], None] | None,
        alone: bool,
    ) -> None:
        self._message_id = message_id
        self._keys = keys
        self._until = until
        self._on_chunk = on_chunk
        self._alone = alone
        self._stream = Stream()
        self._chunks = 0
        self._whole: str | None = None
        self._messages: list[str] = []
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._started_at = loop.time()
        self._first_chunk_s: float | None = None
        self._done: asyncio.Future[Answer] = loop.create_future()
        self._afterword: asyncio.TimerHandle | None = None

    async def wait(self) -> Answer:
        try:
            return await self._done
        finally:
            if self._afterword is not None:
                self._afterword.cancel()

    def fail(self, fault: MegabotError) -> None:
        """End the wait with an error."""
        if not self._done.done():
            self._done.set_exception(fault)
            self._done.exception()  # nobody may be waiting any more

    def see(self, text: str | bytes, head: Head | None) -> None:
        """Look at a message; take it when it belongs to this request."""
        if head is None or isinstance(text, bytes) or self._done.done():
            return
        named = self._names_us(text, head)
        if named is False or (named is None and not self._alone):
            return
        envelope = open_envelope(text)
        if envelope is None:
            return
        try:
            self._take(text, head, envelope, named=named is True)
        except msgspec.DecodeError:
            self.fail(BadData(f"the upstream sent a {head.type} that cannot be read"))

    def _names_us(self, text: str, head: Head) -> bool | None:
        """Whether the message says that it is ours; None when it says nothing."""
        if head.reply_to is not None:
            return head.reply_to in self._keys
        if head.type == "tool_result":
            envelope = open_envelope(text)
            if envelope is not None:
                try:
                    found = msgspec.json.decode(envelope.payload, type=_Keys).execution_id
                except msgspec.DecodeError:
                    return None
                return found in self._keys if found is not None else None
        return None

    def _take(self, text: str, head: Head, envelope: Envelope, *, named: bool) -> None:
        kind = head.type
        if kind == "connection_error":
            if named:
                refusal = msgspec.json.decode(envelope.payload, type=ConnectionRefusal)
                self.fail(_refusal(refusal))
            return
        if kind == "chat_stream":
            self._messages.append(text)
            self._add_chunk(envelope, named=named)
        elif kind == "chat_receive":
            self._messages.append(text)
            self._whole = msgspec.json.decode(envelope.payload, type=ChatReceive).content
            self._say_rest()
        elif named:
            self._messages.append(text)
        if kind == self._until or (self._until is None and kind in ENDS):
            self._finish()

    def _add_chunk(self, envelope: Envelope, *, named: bool) -> None:
        chunk = msgspec.json.decode(envelope.payload, type=ChatStream)
        step = self._stream.add(chunk)
        self._chunks += 1
        if self._first_chunk_s is None:
            self._first_chunk_s = self._loop.time() - self._started_at
        self._say(step.ready)
        if step.finished and self._until is None and self._afterword is None:
            # With reply_to the closing chat_receive, if any, names us and comes at once; the
            # answer is whole either way, so the wait is short.
            self._afterword = self._loop.call_later(AFTERWORD_S, self._finish)

    def _say(self, text: str) -> None:
        if text and self._on_chunk is not None:
            self._on_chunk(text)

    def _say_rest(self) -> None:
        """A chat_receive holds the whole text: show what no chunk has shown."""
        whole, shown = self._whole or "", self._stream.text
        if not self._chunks:
            self._say(whole)
        elif not self._stream.finished and whole.startswith(shown):
            self._say(whole[len(shown) :])

    def _finish(self) -> None:
        if self._done.done():
            return
        text = self._whole if self._whole is not None else self._stream.text
        self._done.set_result(
            Answer(
                text=text,
                reply_to=self._message_id,
                chunks=self._chunks,
                total_s=self._loop.time() - self._started_at,
                first_chunk_s=self._first_chunk_s,
                holes=self._stream.holes,
                messages=tuple(self._messages),
            )
        )


def _refusal(refusal: ConnectionRefusal) -> MegabotError:
    if refusal.code in (400, 413):
        return BadData(f"the upstream refused the message: {refusal.message or refusal.error}")
    return refusal_error(refusal)
