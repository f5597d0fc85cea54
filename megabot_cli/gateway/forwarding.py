"""Requests that were not recorded, asked of the real upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from megabot_cli.client.connection import MegaBotClient
from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.errors import ConnectionLost, MegabotError
from megabot_cli.gateway import outgoing
from megabot_cli.gateway.outbox import BinaryMessage
from megabot_cli.protocol.envelope import Head
from megabot_cli.recording.rewriting import IdMap, rename

MOST_WAITING = 100

NewUpstream = Callable[[], MegaBotClient]

log = structlog.get_logger()


class Audience(Protocol):
    """The session that asks."""

    session_id: str

    def send(self, message: bytes) -> None: ...


class Forwarding:
    """One session's connection upstream, dialled with its first request and kept.

    Where the upstream cannot be had, requests are refused (502) and the next one dials anew.
    """

    def __init__(self, audience: Audience, new_upstream: NewUpstream, tasks: TaskSet) -> None:
        self._audience = audience
        self._new_upstream = new_upstream
        self._tasks = tasks
        self._waiting: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue(MOST_WAITING)
        self._working = False

    def send(self, text: str | bytes, head: Head | None) -> None:
        """Send a request on, after those before it. Never waits, never raises."""
        message_id = head.id if head is not None else None
        try:
            self._waiting.put_nowait((text, message_id))
        except asyncio.QueueFull:
            self._refuse(f"{MOST_WAITING} requests wait for the upstream.", 429, message_id)
            return
        if not self._working:
            self._working = True
            self._tasks.start(self._work(), "gateway forwarding")

    async def _work(self) -> None:
        try:
            async with self._new_upstream() as upstream, asyncio.TaskGroup() as both:
                both.create_task(self._send_on(upstream))
                both.create_task(self._hand_back(upstream))
        except* MegabotError as faults:
            fault = faults.exceptions[0]
            text = fault.message if isinstance(fault, MegabotError) else str(fault)
            log.warning("recorded.upstream_unavailable", reason=text)
            while not self._waiting.empty():
                _, message_id = self._waiting.get_nowait()
                self._refuse(f"The upstream cannot be had: {text}", 502, message_id)
        finally:
            self._working = False

    async def _send_on(self, upstream: MegaBotClient) -> None:
        while True:
            text, message_id = await self._waiting.get()
            if isinstance(text, str):
                text = rename(text, self._names(self._audience.session_id, upstream.session_id))
            try:
                await upstream.send_text(text)
            except MegabotError as fault:
                self._refuse(f"The upstream did not take it: {fault.message}", 502, message_id)
                raise

    async def _hand_back(self, upstream: MegaBotClient) -> None:
        async for received in upstream:
            if isinstance(received.text, bytes):
                self._audience.send(BinaryMessage(received.text))
            elif received.head is None or received.head.type != "connection_established":
                names = self._names(upstream.session_id, self._audience.session_id)
                self._audience.send(rename(received.text, names).encode("utf-8", "surrogatepass"))
        raise ConnectionLost("it closed the connection")

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
