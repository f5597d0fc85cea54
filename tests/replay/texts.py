"""Messages, short to write."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from megabot_cli.replay.recorded_message import RecordedMessage

_numbers = count(1)


def message(
    message_type: str,
    payload: object,
    *,
    message_id: str | None = None,
    reply_to: str | None = None,
    session: str | None = None,
) -> str:
    envelope: dict[str, Any] = {
        "id": message_id or f"up_{next(_numbers)}",
        "type": message_type,
        "payload": payload,
        "timestamp": 1_700_000_000.0,
    }
    metadata = {"reply_to": reply_to, "session_id": session}
    if any(metadata.values()):
        envelope["metadata"] = {key: value for key, value in metadata.items() if value}
    return json.dumps(envelope)


def say(text: str, message_id: str) -> str:
    return message("chat_send", {"content": text}, message_id=message_id)


def chunk(text: str, sequence: int, *, last: bool = False, **more: str | None) -> str:
    payload = {"chunk": text, "is_complete": last, "sequence": sequence}
    return message("chat_stream", payload, **more)


def answer(text: str, **more: str | None) -> str:
    return message("chat_receive", {"content": text, "sender": "assistant"}, **more)


def refusal(error: str, **more: str | None) -> str:
    return message("connection_error", {"error": error, "message": "no", "code": 400}, **more)


def questions(number: int) -> list[RecordedMessage]:
    """So many, of one client, sent a second after the recording began."""
    return [
        RecordedMessage(
            place, place, 1_000_000, "c1", "lane", None, "chat_send", named=True, said="{}"
        )
        for place in range(number)
    ]
