"""Requests that were not recorded, asked of the real upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.errors import ConnectionLost, MegabotError
from megabot_cli.gateway import outgoing
from megabot_cli.gateway.outbox import BinaryMessage
from megabot_cli.protocol.envelope import UNREADABLE, Head
from megabot_cli.protocol.messages import ChatStream
from megabot_cli.recording.answers import messages_in
from megabot_cli.recording.rewriting import IdMap, rename

MOST_WAITING = 100
MOST_UNANSWERED = 1000  # that are remembered
ANSWERS_LIMIT_S = 60.0  # for what is still to come when all clients have left

_GO_ON = frozenset({"chat_stream", "status_update", "tool_call", "tool_result"})

NewUpstream = Callable[[str | None], MegaBotClient]
"""Makes a client, not open yet, that goes on in a session if one is named."""

log = structlog.get_logger()


class Audience(Protocol):
    """The session that asks."""

    session_id: str

    def send(self, message: bytes) -> None: ...


class _AllLeft(Exception):
    """Nobody is there for whom the connection would be kept."""


class _Chunk(msgspec.Struct):
    payload: ChatStream


_chunk_decoder = msgspec.json.Decoder(_Chunk)


class Forwarding:
    """One session's connection upstream, dialled with its first request and kept while it has
    clients.

    Where the upstream cannot be had, or goes before it has answered, requests are refused (502)
    and the next one dials anew, to go on in the same session.
    """

    def __init__(self, audience: Audience, new_upstream: NewUpstream, tasks: TaskSet) -> None:
        self._audience = audience
        self._new_upstream = new_upstream
        self._tasks = tasks
        self._waiting: asyncio.Queue[tuple[str | bytes, Head | None]] = asyncio.Queue(MOST_WAITING)
        self._unanswered: dict[str, str | None] = {}  # by id: the type
        self._streamed: set[str] = set()  # of these: a chat_receive may repeat what came
        self._working = False
        self._all_left = asyncio.Event()
        self._nothing_to_come = asyncio.Event()
        self._session: str | None = None  # the upstream's

    def send(self, text: str | bytes, head: Head | None) -> None:
        """Send a request on, after those before it. Never waits, never raises."""
        try:
            self._waiting.put_nowait((text, head))
        except asyncio.QueueFull:
            self._refuse(f"{MOST_WAITING} requests wait for the upstream.", 429, _id(head))
            return
        self._nothing_to_come.clear()
        if not self._working:
            self._working = True
            self._tasks.start(self._work(), "gateway forwarding")

    def all_left(self) -> None:
        """The last client has left: hang up when all is answered that was asked."""
        self._all_left.set()

    def came_back(self) -> None:
        """There is a client again."""
        self._all_left.clear()

    async def _work(self) -> None:
        try:
            await self._one_connection()
            while not self._waiting.empty():  # somebody came while it was closed
                await self._one_connection()
        finally:
            self._working = False

    async def _one_connection(self) -> None:
        try:
            async with (
                self._new_upstream(self._session) as upstream,
                asyncio.TaskGroup() as together,
            ):
                self._session = upstream.session_id
                together.create_task(self._send_on(upstream))
                together.create_task(self._hand_back(upstream))
                together.create_task(self._until_all_left())
        except* _AllLeft:
            pass  # and nobody is there to be told
        except* MegabotError as faults:
            fault = faults.exceptions[0]
            text = fault.message if isinstance(fault, MegabotError) else str(fault)
            log.warning("recorded.upstream_unavailable", reason=text)
            self._refuse_all(text)
        self._unanswered.clear()
        self._streamed.clear()

    def _refuse_all(self, why: str) -> None:
        for message_id in [each for each in self._unanswered if each not in self._streamed]:
            self._refuse(f"The upstream has not answered: {why}", 502, message_id)
        while not self._waiting.empty():
            _, head = self._waiting.get_nowait()
            self._refuse(f"The upstream cannot be had: {why}", 502, _id(head))

    async def _until_all_left(self) -> None:
        while True:
            await self._all_left.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWERS_LIMIT_S):
                    await self._nothing_to_come.wait()
            if self._all_left.is_set():
                raise _AllLeft

    async def _send_on(self, upstream: MegaBotClient) -> None:
        while True:
            text, head = await self._waiting.get()
            if isinstance(text, str):
                text = rename(text, self._names(self._audience.session_id, upstream.session_id))
            self._asked(head)
            try:
                await upstream.send_text(text)
            except MegabotError as fault:
                self._unanswered.pop(_id(head) or "", None)
                self._refuse(f"The upstream did not take it: {fault.message}", 502, _id(head))
                raise
            self._look_what_is_to_come()

    async def _hand_back(self, upstream: MegaBotClient) -> None:
        async for received in upstream:
            self._session = upstream.session_id
            if isinstance(received.text, bytes):
                self._audience.send(BinaryMessage(received.text))
            elif received.head is None or received.head.type != "connection_established":
                names = self._names(upstream.session_id, self._audience.session_id)
                self._audience.send(rename(received.text, names).encode("utf-8", "surrogatepass"))
                for head, text in messages_in(received.text):
                    self._answered(head, text)
        raise ConnectionLost("it closed the connection")

    def _asked(self, head: Head | None) -> None:
        if head is not None and head.id is not None:
            self._unanswered[head.id] = head.type
            if len(self._unanswered) > MOST_UNANSWERED:
                self._forget(next(iter(self._unanswered)))

    def _answered(self, head: Head | None, text: str | bytes) -> None:
        """Note what a message from the upstream means for the request that it names."""
        if head is None or head.reply_to not in self._unanswered:
            return
        asked = self._unanswered[head.reply_to]
        if head.type not in _GO_ON or (head.type, asked) == ("tool_result", "tool_call"):
            self._forget(head.reply_to)
        elif head.type == "chat_stream" and _is_last(text):
            self._streamed.add(head.reply_to)
        self._look_what_is_to_come()

    def _forget(self, message_id: str) -> None:
        del self._unanswered[message_id]
        self._streamed.discard(message_id)

    def _look_what_is_to_come(self) -> None:
        if not self._unanswered and self._waiting.empty():
            self._nothing_to_come.set()

    def _names(self, session: str | None, now: str | None) -> IdMap:
        ids = IdMap(new_id)
        if session is not None and now is not None:
            ids.learn(session, now)
        return ids

    def _refuse(self, text: str, code: int, message_id: str | None) -> None:
        error = "rate_limited" if code == 429 else "upstream_unavailable"
        session_id = self._audience.session_id
        self._audience.send(
            outgoing.refusal(error, text, code, reply_to=message_id, session_id=session_id)
        )


def _id(head: Head | None) -> str | None:
    return head.id if head is not None else None


def _is_last(text: str | bytes) -> bool:
    try:
        return _chunk_decoder.decode(text).payload.is_complete
    except UNREADABLE:
        return False
