"""A connection whose messages are answered from a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from megabot_cli.errors import BadData
from megabot_cli.gateway.connection import Connection
from megabot_cli.gateway.outbox import BinaryMessage
from megabot_cli.gateway.recorded_session import MOST_PLAYING, RecordedSession
from megabot_cli.protocol.close_codes import CloseCode, sendable
from megabot_cli.protocol.compression import is_gzip
from megabot_cli.protocol.envelope import Head
from megabot_cli.recording.answers import messages_in

if TYPE_CHECKING:
    from megabot_cli.gateway.recorded_answers import RecordedAnswers

_NOT_RECORDED = "Nothing like this was recorded."


class RecordedConnection(Connection):
    """Reads as every connection does; what is said comes from its session."""

    def __init__(self, answers: RecordedAnswers, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._recorded = answers
        self._played = cast(RecordedSession, self.session)

    async def run(self) -> None:
        self._played.connections.append(self)
        try:
            await super().run()
        finally:
            self._played.connections.remove(self)

    async def close_as_recorded(self, code: int, reason: str) -> None:
        """Hang up with a recorded code, or as a line is cut where none can be sent."""
        if sendable(code) == code:
            await self.close(code, reason)
        else:
            self.abort()

    def _greet(self) -> None:
        greeting = self._played.greeting()
        if greeting is not None:
            self.send(greeting)
        elif self._played.greets_as_ever():
            super()._greet()
        self._played.begin()

    def send(self, message: bytes) -> None:
        if isinstance(message, BinaryMessage):
            self.send_raw(message, binary=True)
            return
        try:
            super().send(message)
        except BadData:  # another dialect has no place for a signature
            self.send_raw(message, binary=False)

    def _take(self, text: bytes) -> None:
        limit = self._limits.max_message_bytes
        if limit and len(text) > limit:
            super()._take(text)  # which says why it is refused
            return
        for head, inner in messages_in(text.decode("utf-8", "surrogatepass")):
            self._answer(head, inner)

    def _receive_binary(self, data: bytes) -> None:
        if is_gzip(data):
            super()._receive_binary(data)
        else:
            self._answer(None, data)

    def _answer(self, head: Head | None, message: str | bytes) -> None:
        message_id = head.id if head is not None else None
        if self._played.full:
            text = f"{MOST_PLAYING} answers of this session are under way."
            self.refuse("rate_limited", text, 429, message_id)
        elif self._played.hear(head, message):
            self._recorded.tally.matched += 1
        else:
            self._recorded.missed(head)
            self._miss(head, message, message_id)

    def _miss(self, head: Head | None, message: str | bytes, message_id: str | None) -> None:
        match self._recorded.miss:
            case "error":
                self.refuse("not_recorded", _NOT_RECORDED, 404, message_id)
            case "close":
                closing = self.close(CloseCode.POLICY_VIOLATION, _NOT_RECORDED)
                self._tasks.start(closing, "gateway goodbye")
            case "forward":
                self._played.forward(message, head)
            case "echo" if isinstance(message, bytes):
                super()._receive_binary(message)
            case "echo":
                super()._take(message.encode("utf-8", "surrogatepass"))
