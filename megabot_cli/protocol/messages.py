"""The message types of the specification: one declaration each.

Validation, help, the JSON Schema and the tests all read these. Unknown keys pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MAX_CONTENT_UNITS = 10_000
MAX_BATCH = 100

Text = Annotated[str, Meta(min_length=1)]
Sender = Literal["client", "upstream", "both"]


class Payload(msgspec.Struct, omit_defaults=True):
    """Base of all payloads."""


class ConnectionEstablished(Payload):
    session_id: Text
    user_id: str | None = None
    capabilities: list[str] = []


class ConnectionRefusal(Payload):
    error: Text
    message: str = ""
    code: int | None = None


class ChatSend(Payload):
    content: Annotated[
        str,
        Meta(min_length=1, description="At most 10 000 UTF-16 code units, as JavaScript counts."),
    ]
    platform: str | None = None
    attachments: list[Any] = []


class ChatReceive(Payload):
    content: str
    sender: str | None = None
    platform: str | None = None
    timestamp: float | str | None = None


class ChatStream(Payload):
    chunk: str
    is_complete: bool
    sequence: Annotated[int, Meta(ge=1)]
    stream_id: str | None = None


class StatusUpdate(Payload):
    status: str
    progress: Annotated[float, Meta(ge=0, le=1)] | None = None
    message: str | None = None
    task_id: str | None = None


class Notification(Payload):
    type: str
    title: str | None = None
    message: str | None = None
    action_url: str | None = None
    dismissible: bool | None = None


class ToolCall(Payload):
    tool_name: Text
    parameters: dict[str, Any]
    execution_id: Text


class ToolResult(Payload):
    execution_id: Text
    status: str
    result: Any = None
    output: str | None = None


class SessionJoin(Payload):
    session_id: Text


class CollaborativeAction(Payload):
    session_id: Text
    action: Text
    data: Any = None
    user_id: str | None = None


class Batch(Payload):
    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCH)]


class MessageType(msgspec.Struct, frozen=True):
    """What one `type` means, who sends it, and whether newer ones may stand for older ones."""

    name: str
    payload: type[Payload]
    sent_by: Sender
    purpose: str
    mergeable: bool = False


_ALL = (
    MessageType(
        "connection_established", ConnectionEstablished, "upstream", "the session in force"
    ),
    MessageType("connection_error", ConnectionRefusal, "upstream", "a refusal, with its code"),
    MessageType("chat_send", ChatSend, "client", "what the user says"),
    MessageType("chat_receive", ChatReceive, "upstream", "a whole answer"),
    MessageType("chat_stream", ChatStream, "upstream", "one piece of an answer", mergeable=True),
    MessageType("status_update", StatusUpdate, "upstream", "progress of long work", mergeable=True),
    MessageType("notification", Notification, "upstream", "news for a person"),
    MessageType("tool_call", ToolCall, "both", "asks the other side to run a tool"),
    MessageType("tool_result", ToolResult, "both", "what a tool gave"),
    MessageType("session_join", SessionJoin, "client", "enters a shared workspace"),
    MessageType("collaborative_action", CollaborativeAction, "both", "one act in a workspace"),
    MessageType("batch", Batch, "both", "several messages in one"),
)

MESSAGE_TYPES: Mapping[str, MessageType] = MappingProxyType({kind.name: kind for kind in _ALL})
