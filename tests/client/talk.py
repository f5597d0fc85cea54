"""Questions that were sent, and an upstream's words to them. No socket here."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any

from megabot_cli.client.answers import Answer, PendingAnswer
from megabot_cli.client.correlation import Correlation
from megabot_cli.client.received import Received
from megabot_cli.protocol.envelope import peek

_ids = count(1)


def message(kind: str, payload: Any, **metadata: Any) -> Received:
    fields: dict[str, Any] = {"id": f"up_{next(_ids)}", "type": kind, "payload": payload}
    if metadata:
        fields["metadata"] = metadata
    return plain(json.dumps(fields))


def plain(text: str) -> Received:
    return Received(text, peek(text), 0.0)


def chunk(text: str, sequence: int, *, last: bool = False, stream: str | None = None) -> Any:
    payload: dict[str, Any] = {"chunk": text, "is_complete": last, "sequence": sequence}
    return payload if stream is None else {**payload, "stream_id": stream}


class Talk:
    """Questions that were sent, and what the upstream says to them."""

    def __init__(self) -> None:
        self.questions = Correlation()
        self.questions.session_id = "sess_1"
        self.now = 100.0

    def ask(self, message_id: str, kind: str = "chat_send", **more: Any) -> PendingAnswer:
        pending = PendingAnswer(message_id, kind, more.pop("payload", None), **more)
        self.questions.open(pending)
        pending.sent(self.now)
        return pending

    def hear(self, kind: str, payload: Any, **metadata: Any) -> None:
        self.now += 1.0
        self.questions.see(message(kind, payload, **metadata), self.now)

    async def answer(self, pending: PendingAnswer, limit_s: float = 10.0) -> Answer:
        async with asyncio.timeout(limit_s):
            try:
                await self.questions.follow(pending, None)
            finally:
                self.questions.close(pending)
        return pending.answer()

    def is_waiting(self, pending: PendingAnswer) -> bool:
        return pending.phase.name == "WAITING"
