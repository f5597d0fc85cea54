"""The messages that a scenario's steps say, in answer to what their part is about."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from megabot_cli.client.ids import new_id
from megabot_cli.gateway import outgoing
from megabot_cli.gateway.scenarios.actor import Actor
from megabot_cli.gateway.scenarios.declaration import (
    News,
    Outcome,
    Progress,
    Reply,
    Sent,
    Stream,
)
from megabot_cli.gateway.scenarios.filling import fill, fill_text
from megabot_cli.gateway.scenarios.plan import Part


class Speaker:
    """Says things in the session of one connection, at the pace of who listens."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def reply(self, said: Reply, part: Part) -> None:
        whole = self.whole(fill_text(said.text, part.values), said.sender, part)
        self._actor.session.send(whole)

    def notify(self, said: News, part: Part) -> None:
        self.send("notification", fill(_given(said), part.values), part)

    def send_any(self, said: Sent, part: Part) -> None:
        self.send(said.type, fill(said.payload, part.values), part)

    async def stream(self, said: Stream, part: Part, name: str) -> None:
        text = fill_text(said.text, part.values)
        chunks = [text[at : at + said.chunk] for at in range(0, len(text), said.chunk)]
        for index, chunk in enumerate(chunks[: said.stop_after], 1):
            await self._pause(part.seconds(said.pace_s, f"{name}/{index}"))
            self._send_chunk(chunk, index, part, is_complete=False)
        if said.stop_after is not None:
            return
        self._send_chunk("", len(chunks) + 1, part, is_complete=True)
        if said.whole:
            self._actor.session.send(self.whole(text, "assistant", part))

    async def tell_status(self, said: Progress, part: Part, name: str) -> None:
        text = fill_text(said.message, part.values) if said.message else None
        if said.steps is None:
            self._send_status(said.status, said.progress, text, part)
            return
        for index in range(1, said.steps + 1):
            await self._pause(part.seconds(said.pace_s, f"{name}/{index}"))
            self._send_status(said.status, round(index / said.steps, 4), text, part)

    def give_result(self, said: Outcome, execution_id: str | None, part: Part) -> None:
        """Answer a `tool_call`; one that named no execution gets a result all the same."""
        payload = {"execution_id": execution_id or new_id("exec"), **_given(said)}
        payload.setdefault("status", said.status)
        self.send("tool_result", fill(payload, part.values), part)

    def whole(self, text: str, sender: str, part: Part) -> bytes:
        payload = {
            "content": text,
            "sender": sender,
            "platform": "megabot",
            "timestamp": round(time.time(), 3),
        }
        return self._message("chat_receive", payload, part)

    def _send_chunk(self, chunk: str, sequence: int, part: Part, *, is_complete: bool) -> None:
        payload = {"chunk": chunk, "is_complete": is_complete, "sequence": sequence}
        self.send("chat_stream", payload, part)

    def _send_status(
        self, status: str, progress: float | None, text: str | None, part: Part
    ) -> None:
        payload = {"status": status, "progress": progress, "message": text}
        given = {key: value for key, value in payload.items() if value is not None}
        self.send("status_update", given, part)

    def send(self, message_type: str, payload: dict[str, Any], part: Part) -> None:
        self._actor.session.send(self._message(message_type, payload, part))

    def _message(self, message_type: str, payload: dict[str, Any], part: Part) -> bytes:
        return outgoing.message(
            message_type,
            payload,
            session_id=self._actor.session.session_id,
            reply_to=part.values["id"] or None,
        )

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._actor.session.until_room()


def _given(said: msgspec.Struct) -> dict[str, Any]:
    """What was said, without what was left out."""
    values = msgspec.structs.asdict(said)
    return {key: value for key, value in values.items() if value is not None}
