"""Answer what is said in one session, one thing after another."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec
import structlog

from megabot_cli.client.tasks import TaskSet
from megabot_cli.gateway import outgoing
from megabot_cli.gateway.assistants.interface import Assistant, AssistantFailed, Turn

MOST_WAITING = 100
MOST_TURNS_REMEMBERED = 50

# The whole answer must fit in one message of 1 MiB, where JSON may write a character in six.
MOST_CHARACTERS = 100_000

# An assistant that never pauses lets others have their turn after so many chunks.
_CHUNKS_BETWEEN_YIELDS = 16

log = structlog.get_logger()


class Question(msgspec.Struct, frozen=True):
    """A `chat_send` that waits for its answer."""

    message_id: str
    content: str


class Audience(Protocol):
    """Who hears the answers."""

    session_id: str

    def send(self, message: bytes) -> None: ...

    async def until_room(self) -> None: ...


class Answers:
    """Keeps the order of questions; an answer goes on whether anybody is connected or not."""

    def __init__(self, audience: Audience, assistant: Assistant, tasks: TaskSet) -> None:
        self._audience = audience
        self._assistant = assistant
        self._tasks = tasks
        self._waiting: deque[Question] = deque()
        self._history: deque[Turn] = deque(maxlen=MOST_TURNS_REMEMBERED)
        self._working = False
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self.on_turn: Callable[[str, str], None] | None = None  # a question and its answer

    def restore(self, turns: Sequence[tuple[str, str]]) -> None:
        """Questions and answers of an earlier life, the oldest first."""
        for question, answer in turns:
            self._history.append(Turn("user", question))
            self._history.append(Turn("assistant", answer))

    @property
    def full(self) -> bool:
        return len(self._waiting) >= MOST_WAITING

    @property
    def under_way(self) -> bool:
        return self._working

    def ask(self, question: Question) -> None:
        """Answer this after all that was asked before. Only while not `full`."""
        self._waiting.append(question)
        if not self._working:
            self._start()

    def _start(self) -> None:
        self._working = True
        self._task = self._tasks.start(self._work(), "gateway answers")

    def interrupt(self) -> None:
        """Whoever asked has said goodbye: the answer under way ends, and the rest is dropped.

        What was said until then is remembered as said.
        """
        self._waiting.clear()
        self._room.set()
        if self._task is not None:
            self._task.cancel()

    async def until_room(self) -> None:
        """Return when one more question may be asked."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def _work(self) -> None:
        try:
            while self._waiting:
                question = self._waiting.popleft()
                self._room.set()
                await self._answer(question)
        finally:
            self._working = False
            self._task = None
            if self._waiting:  # asked while an interrupted answer was still being ended
                self._start()

    async def _answer(self, question: Question) -> None:
        try:
            answer = await self._stream(question)
        except AssistantFailed as fault:
            log.warning("answer.failed", session=self._audience.session_id, why=str(fault))
            self._refuse(question, str(fault))
            return
        except Exception as fault:  # an assistant may be anything: no fault of it ends the session
            log.error("answer.failed", session=self._audience.session_id, exc_info=fault)
            self._refuse(question, "The assistant could not answer.")
            return
        self._send_whole(question, answer)
        self._remember(question, answer)

    async def _stream(self, question: Question) -> str:
        """Send the chunks as they come; the last is empty, as only the end shows the end.

        An answer that would never end is cut.
        """
        parts: list[str] = []
        try:
            await self._send_chunks(question, parts)
        except asyncio.CancelledError:
            self._remember(question, "".join(parts))
            raise
        self._send_chunk(question, "", len(parts) + 1, is_complete=True)
        return "".join(parts)

    async def _send_chunks(self, question: Question, parts: list[str]) -> None:
        room = MOST_CHARACTERS
        async with aclosing(
            self._assistant.answer(question.content, tuple(self._history))
        ) as chunks:
            async for chunk in chunks:
                parts.append(chunk[:room])
                room -= len(parts[-1])
                self._send_chunk(question, parts[-1], len(parts), is_complete=False)
                if room == 0:
                    break
                if len(parts) % _CHUNKS_BETWEEN_YIELDS == 0:
                    await asyncio.sleep(0)
                await self._audience.until_room()

    def _remember(self, question: Question, answer: str) -> None:
        self._history.append(Turn("user", question.content))
        self._history.append(Turn("assistant", answer))
        if self.on_turn is not None:
            self.on_turn(question.content, answer)

    def _send_chunk(
        self, question: Question, chunk: str, sequence: int, *, is_complete: bool
    ) -> None:
        payload = {"chunk": chunk, "is_complete": is_complete, "sequence": sequence}
        self._send("chat_stream", payload, question)

    def _send_whole(self, question: Question, answer: str) -> None:
        payload = {
            "content": answer,
            "sender": "assistant",
            "platform": "megabot",
            "timestamp": round(time.time(), 3),
        }
        self._send("chat_receive", payload, question)

    def _send(self, message_type: str, payload: dict[str, object], question: Question) -> None:
        self._audience.send(
            outgoing.message(
                message_type,
                payload,
                session_id=self._audience.session_id,
                reply_to=question.message_id,
            )
        )

    def _refuse(self, question: Question, text: str) -> None:
        self._audience.send(
            outgoing.refusal(
                "assistant_failed",
                text,
                500,
                reply_to=question.message_id,
                session_id=self._audience.session_id,
            )
        )
