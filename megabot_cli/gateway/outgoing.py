"""Messages that the gateway writes."""

from __future__ import annotations

import time
from typing import Any

from megabot_cli.client.ids import new_id
from megabot_cli.protocol.envelope import build


def message(
    message_type: str,
    payload: dict[str, Any],
    *,
    session_id: str | None = None,
    reply_to: str | None = None,
    user_id: str | None = None,
    platform: str | None = None,
    message_id: str | None = None,
) -> bytes:
    """The wire text of a message of ours; metadata holds what is given."""
    metadata = {
        key: value
        for key, value in (
            ("reply_to", reply_to),
            ("session_id", session_id),
            ("user_id", user_id),
            ("platform", platform),
        )
        if value is not None
    }
    return build(
        message_id or new_id("msg"), message_type, payload, at=time.time(), metadata=metadata
    ).encode()


def refusal(
    error: str,
    text: str,
    code: int,
    *,
    reply_to: str | None = None,
    session_id: str | None = None,
) -> bytes:
    """A `connection_error`: `error` is a stable word, `text` is for a person."""
    payload = {"error": error, "message": text, "code": code}
    return message("connection_error", payload, reply_to=reply_to, session_id=session_id)
