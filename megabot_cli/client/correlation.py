"""Which of our questions a message answers.

By the first rule that applies (see the protocol's page in the manual): `metadata.reply_to`;
the payload's `execution_id` or `stream_id`; else the specification's own model, one current
stream per session, which answers the oldest question. An upstream that has named a reply
once is taken to name all of them: what names nothing is then nobody's answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from megabot_cli.client.answers import PendingAnswer, Phase, payload_field
from megabot_cli.client.received import Received
from megabot_cli.client.reconnect import again
from megabot_cli.errors import ConnectionLost, MegabotError
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.protocol.envelope import Head

# How long a whole stream waits for the chat_receive that repeats it.
AFTERWORD_S = 0.5

# After a loss that was resumed without a word an answer may still come, or the question never
# arrived: nobody can tell, but it is not waited for longer than this.
RESUME_PATIENCE_S = 60.0

# Whoever hangs up on a question as a thing not to be asked (1008) will hardly answer it after all.
DISMISSED_PATIENCE_S = 5.0

# A connection_error that names no message: of these the connection is the matter, and what
# becomes of that is told by its end.
_ABOUT_THE_CONNECTION = (401, 503)


class Correlation:
    """All questions of one client that are not answered yet, oldest first."""

    def __init__(self) -> None:
        self.session_id: str | None = None
        self._pending: dict[str, PendingAnswer] = {}
        self._names_replies = False
        # Whether a chat_receive follows a whole stream: unknown until the first one ends.
        self._afterwords: bool | None = None
        self._without_afterword: deque[str] = deque(maxlen=16)
        self._last_streamed: str | None = None
        self._credential_refused = False  # said on this connection
        self._dismissed = False  # by the end of the last connection

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, pending: PendingAnswer) -> None:
        self._pending[pending.message_id] = pending

    def close(self, pending: PendingAnswer) -> None:
        self._pending.pop(pending.message_id, None)

    def see(self, received: Received, now: float) -> None:
        """Give a message to whom it answers. Batches are taken apart before."""
        if not self._pending and not self._without_afterword:
            return  # nobody asks: nothing of it is looked at
        if received.head is not None and received.head.type == "connection_error":
            self._credential_refused |= payload_field(received.text, "code") == 401
        owner = self._owner(received)
        for pending in list(self._pending.values()):
            if pending is owner or (pending.sent_at is not None and pending.matches(received)):
                pending.take(received, now)
        if owner is not None and owner.phase is Phase.DONE and owner.chunks and owner.whole:
            self._afterwords = True

    def _owner(self, received: Received) -> PendingAnswer | None:
        head = received.head
        if head is None or isinstance(received.text, bytes) or head.type == "batch":
            return None
        if head.reply_to is not None:
            return self._named(head, head.reply_to)
        if head.type == "tool_result":
            return self._of_execution(payload_field(received.text, "execution_id"))
        if self._names_replies or (head.session_id or self.session_id) != self.session_id:
            return None
        asked = [one for one in self._pending.values() if one.sent_at is not None]
        match head.type:
            case "chat_stream":
                return self._of_stream(asked, payload_field(received.text, "stream_id"))
            case "chat_receive":
                return self._of_whole(asked, received)
            case "connection_error":
                code = payload_field(received.text, "code")
                return None if code in _ABOUT_THE_CONNECTION else _first_waiting(asked)
            case _:
                return None

    def _named(self, head: Head, reply_to: str) -> PendingAnswer | None:
        if head.type == "chat_receive" and reply_to in self._without_afterword:
            self._afterwords = True  # it comes, only later than we waited
        found = self._pending.get(reply_to)
        # A relay refuses by name what it does not pass on, whatever the upstream does.
        if found is not None and head.type != "connection_error":
            self._names_replies = True
        return found

    def _of_execution(self, execution_id: object) -> PendingAnswer | None:
        if execution_id is None:
            return None
        same = (one for one in self._pending.values() if one.execution_id == execution_id)
        return next(same, None)

    def _of_stream(self, asked: list[PendingAnswer], stream_id: object) -> PendingAnswer | None:
        """A chunk that names no message: of the stream it names, else of the current one."""
        chats = [one for one in asked if one.message_type == "chat_send"]
        if stream_id is not None:
            for one in chats:
                if one.stream_id == stream_id:
                    return one
        current = _first_waiting(
            [one for one in chats if stream_id is None or one.stream_id is None]
        )
        if current is not None:
            self._last_streamed = None
            _finish_before(current, chats)
        return current

    def _of_whole(self, asked: list[PendingAnswer], received: Received) -> PendingAnswer | None:
        """A chat_receive that names no message: it ends a stream, or is an answer in one."""
        if payload_field(received.text, "sender") == "user":
            return None  # somebody else in the session said something
        content = payload_field(received.text, "content")
        said = content.strip() if isinstance(content, str) else None
        chats = [one for one in asked if one.message_type == "chat_send"]
        streamed = [one for one in chats if one.phase is Phase.STREAMED]
        for one in streamed:
            if one.text.strip() == said:
                return one
        current = _first_waiting(chats)
        if current is None:
            return streamed[0] if streamed else None
        if not current.chunks and said is not None and said == self._last_streamed:
            self._last_streamed = None
            self._afterwords = True
            return None  # the last answer's, which did not wait so long
        _finish_before(current, chats)
        return current

    async def follow(self, pending: PendingAnswer, on_text: Callable[[str], None] | None) -> None:
        """Hand on an answer's text until the answer is whole; raises what it failed with."""
        while True:
            pending.changed.clear()
            ready = pending.take_ready()
            if ready and on_text is not None:
                on_text(ready)
            if pending.phase is Phase.DONE:
                break
            if pending.phase is Phase.STREAMED:
                await self._wait_for_afterword(pending)
            else:
                await pending.changed.wait()
        if pending.fault is not None:
            raise again(pending.fault)

    async def _wait_for_afterword(self, pending: PendingAnswer) -> None:
        """Wait for the chat_receive of a whole stream, unless this upstream sends none."""
        try:
            async with asyncio.timeout(0 if self._afterwords is False else AFTERWORD_S):
                while pending.phase is not Phase.DONE:
                    pending.changed.clear()
                    await pending.changed.wait()
        except TimeoutError:
            self._came_without_afterword(pending)
            pending.finish()

    def _came_without_afterword(self, pending: PendingAnswer) -> None:
        self._afterwords = False
        self._without_afterword.append(pending.message_id)
        self._last_streamed = pending.text.strip()

    def fail_all(self, fault: MegabotError) -> None:
        for pending in self._pending.values():
            pending.fail(fault)

    def lost(self, code: int) -> None:
        """The connection fell. A credential that is refused also ends with 1008, and then it is
        no matter of what was asked."""
        self._dismissed = code == CloseCode.POLICY_VIOLATION and not self._credential_refused
        self._credential_refused = False

    def resumed(self, patience_s: float) -> None:
        """What was asked before the loss may have been lost with it: wait, but not for ever."""
        if self._dismissed:
            patience_s = min(patience_s, DISMISSED_PATIENCE_S)
        loop = asyncio.get_running_loop()
        for pending in self._pending.values():
            if pending.sent_at is not None and pending.phase is Phase.WAITING:
                loop.call_later(patience_s, self._give_up, pending, pending.chunks)

    def _give_up(self, pending: PendingAnswer, chunks: int) -> None:
        silent = pending.phase is Phase.WAITING and pending.chunks == chunks
        if silent and self._pending.get(pending.message_id) is pending:
            pending.fail(
                ConnectionLost(
                    "The connection fell after the message was sent, and no answer has come since",
                    "It may have arrived or not. Ask again where that does no harm.",
                )
            )

    def session_gone(self) -> None:
        """In a new session nobody answers what was asked in the old one."""
        for pending in self._pending.values():
            if pending.sent_at is not None:
                pending.fail(
                    ConnectionLost(
                        "The session was lost before the answer was whole",
                        "Ask again: this is a new session.",
                    )
                )


def _first_waiting(asked: list[PendingAnswer]) -> PendingAnswer | None:
    return next((one for one in asked if one.phase is Phase.WAITING), None)


def _finish_before(current: PendingAnswer, asked: list[PendingAnswer]) -> None:
    """The session has gone on to `current`: nothing more comes for those before it."""
    for one in asked:
        if one is current:
            return
        if one.phase is Phase.STREAMED:
            one.finish()
