"""What happens for each type of message that a client sends."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import msgspec

from megabot_cli.client.tasks import TaskSet
from megabot_cli.errors import BadData
from megabot_cli.gateway import outgoing
from megabot_cli.gateway.accounts import User
from megabot_cli.gateway.answers import Question
from megabot_cli.gateway.attachments import with_attachments
from megabot_cli.gateway.inbox import Arrived
from megabot_cli.gateway.sessions import Session
from megabot_cli.gateway.tools import Outcome, run_tool
from megabot_cli.gateway.workspace import MOST_JOINED, Workspaces
from megabot_cli.protocol.envelope import UNREADABLE, open_envelope
from megabot_cli.protocol.messages import (
    MESSAGE_TYPES,
    ChatSend,
    CollaborativeAction,
    SessionJoin,
    ToolCall,
    ToolResult,
)

MOST_TOOLS_RUNNING = 100  # of one session
MOST_NAME_LENGTH = 256

# The specification says how to enter a workspace, and nothing of leaving one and staying.
LEAVE = "session_leave"


class Sender(Protocol):
    """The connection that a message came over."""

    user: User
    session: Session
    platform: str | None
    over: bool

    def send(self, message: bytes) -> None: ...

    def refuse(self, error: str, text: str, code: int, reply_to: str | None) -> None: ...


class Handlers:
    """One method per type. None of them waits: long work becomes a task."""

    def __init__(self, workspaces: Workspaces, tasks: TaskSet, max_message_bytes: int) -> None:
        self._workspaces = workspaces
        self._tasks = tasks
        self._max_message_bytes = max_message_bytes
        self._tools_running: Counter[str] = Counter()

    def handle(self, sender: Sender, arrived: Arrived) -> None:
        """Answer a valid message that is no batch."""
        message = arrived.message
        match message.payload:
            case ChatSend(content=content, attachments=attachments):
                asked = with_attachments(content, attachments)
                sender.session.answers.ask(Question(message.id, asked))
            case ToolCall() as call:
                self._call_tool(sender, message.id, call)
            case ToolResult(execution_id=execution_id):
                text = f"Nobody here waits for the result of {execution_id}."
                sender.refuse("unknown_execution", text, 400, message.id)
            case SessionJoin(session_id=name):
                self._join(sender, message.id, name)
            case CollaborativeAction(session_id=name):
                self._act(sender, arrived, name)
            case msgspec.Raw() as payload if message.type == LEAVE:
                self._leave(sender, message.id, payload)
            case _:
                self._refuse_type(sender, message.id, message.type)

    def left(self, sender: Sender) -> None:
        """The connection is gone."""
        self._workspaces.leave_all(sender)

    def _call_tool(self, sender: Sender, message_id: str, call: ToolCall) -> None:
        session = sender.session
        if self._tools_running[session.session_id] >= MOST_TOOLS_RUNNING:
            text = f"{MOST_TOOLS_RUNNING} tools are running in this session."
            sender.refuse("rate_limited", text, 429, message_id)
            return
        self._tools_running[session.session_id] += 1
        self._tasks.start(self._run_tool(session, message_id, call), "gateway tool")

    async def _run_tool(self, session: Session, message_id: str, call: ToolCall) -> None:
        told = False

        def tell(progress: float) -> None:
            nonlocal told
            told = True
            session.send(_tool_status(session, message_id, call, "working", progress))

        try:
            outcome = await run_tool(call.tool_name, call.parameters, tell)
        finally:
            self._tools_running[session.session_id] -= 1
            if not self._tools_running[session.session_id]:
                del self._tools_running[session.session_id]
        if told:
            session.send(_tool_status(session, message_id, call, outcome.status, 1.0))
        result = _tool_result(session, message_id, call, outcome)
        if self._too_long(result):
            outcome = Outcome("failed", output="The result is longer than a message may be.")
            result = _tool_result(session, message_id, call, outcome)
        session.send(result)

    def _join(self, sender: Sender, message_id: str, name: str) -> None:
        if sender.over:
            return  # what it sent last may be handled after it left; nobody is there to join
        if len(name) > MOST_NAME_LENGTH:
            text = f"The name of a workspace has at most {MOST_NAME_LENGTH} characters."
            sender.refuse("invalid_message", text, 400, message_id)
        elif len(self._workspaces.joined(sender)) >= MOST_JOINED:
            text = f"A connection may join {MOST_JOINED} workspaces."
            sender.refuse("rate_limited", text, 429, message_id)
        else:
            self._workspaces.join(name, sender, message_id)

    def _leave(self, sender: Sender, message_id: str, payload: msgspec.Raw) -> None:
        try:
            name = msgspec.json.decode(payload, type=SessionJoin).session_id
        except UNREADABLE:
            text = "$.payload.session_id: expected the name of a workspace (required fields)"
            sender.refuse("invalid_message", text, 400, message_id)
            return
        if self._workspaces.is_in(name, sender):
            self._workspaces.leave(name, sender, message_id)
        else:
            sender.refuse("not_joined", f"You are not in {name[:100]}.", 403, message_id)

    def _act(self, sender: Sender, arrived: Arrived, name: str) -> None:
        message_id = arrived.message.id
        if not self._workspaces.is_in(name, sender):
            text = f"Join {name} with session_join before acting in it."
            sender.refuse("not_joined", text, 403, message_id)
            return
        try:
            action = _shown_action(sender, arrived, name)
        except BadData as fault:
            sender.refuse("invalid_message", fault.message, 400, message_id)
            return
        if self._too_long(action):
            text = "With the user filled in, the action is longer than a message may be."
            sender.refuse("message_too_large", text, 413, message_id)
            return
        self._workspaces.act(name, sender, action)

    def _too_long(self, message: bytes) -> bool:
        return 0 < self._max_message_bytes < len(message)

    def _refuse_type(self, sender: Sender, message_id: str, message_type: str) -> None:
        if message_type in MESSAGE_TYPES:
            text = f"{message_type} is for MegaBot to send, not for a client."
            sender.refuse("wrong_sender", text, 400, message_id)
        else:
            text = f"The specification has no message type {message_type[:100]}."
            sender.refuse("unknown_type", text, 400, message_id)


def _tool_status(
    session: Session, message_id: str, call: ToolCall, status: str, progress: float
) -> bytes:
    """How far long work has come, for whoever shows a bar."""
    payload = {
        "status": status,
        "message": f"{call.tool_name}: {progress:.0%}",
        "progress": round(progress, 3),
        "task_id": call.execution_id,
    }
    return outgoing.message(
        "status_update", payload, session_id=session.session_id, reply_to=message_id
    )


def _tool_result(session: Session, message_id: str, call: ToolCall, outcome: Outcome) -> bytes:
    payload = {"execution_id": call.execution_id, **msgspec.structs.asdict(outcome)}
    return outgoing.message(
        "tool_result", payload, session_id=session.session_id, reply_to=message_id
    )


def _shown_action(sender: Sender, arrived: Arrived, name: str) -> bytes:
    """The action as others see it: every key of the payload, known to us or not, and who did it."""
    envelope = open_envelope(arrived.text)
    assert envelope is not None
    payload: dict[str, Any] = envelope.decoded_payload()
    return outgoing.message(
        "collaborative_action",
        {**payload, "user_id": sender.user.user_id},
        session_id=name,
        user_id=sender.user.user_id,
        platform=sender.platform,
        message_id=arrived.message.id,
    )
