"""The least that is valid of each type, to be varied by the tests."""

from __future__ import annotations

import json
from typing import Any

from megabot_cli.protocol.validation import Problem, check

ASTRAL = "😀"  # above U+FFFF: two units in JavaScript, four bytes in UTF-8

PAYLOADS: dict[str, dict[str, Any]] = {
    "connection_established": {"session_id": "sess_1"},
    "connection_error": {"error": "authentication_failed"},
    "chat_send": {"content": "hello"},
    "chat_receive": {"content": ""},
    "chat_stream": {"chunk": "", "is_complete": False, "sequence": 1},
    "status_update": {"status": "processing"},
    "notification": {"type": "info", "title": "done"},
    "tool_call": {"tool_name": "run", "parameters": {}, "execution_id": "exec_1"},
    "tool_result": {"execution_id": "exec_1", "status": "completed"},
    "session_join": {"session_id": "sess_1"},
    "collaborative_action": {"session_id": "sess_1", "action": "cursor_move"},
    "batch": {"messages": [{"id": "m2", "type": "session_join", "payload": {"session_id": "s"}}]},
}


def message(message_type: str, payload: Any = None, /, **outer: Any) -> str:
    """A message of that type with that payload, else the least valid one."""
    fields = {"id": "m1", "type": message_type, "payload": payload or PAYLOADS[message_type]}
    return json.dumps(fields | outer, ensure_ascii=False)


def changed(message_type: str, **fields: Any) -> str:
    """The least valid message of that type with some payload fields set."""
    return message(message_type, PAYLOADS[message_type] | fields)


def without(message_type: str, field: str) -> str:
    """The least valid message of that type, one payload field taken out."""
    payload = {name: value for name, value in PAYLOADS[message_type].items() if name != field}
    return message(message_type, payload or {"other": 1})


def problem_of(text: bytes | str) -> Problem:
    """What is wrong with a message that must not be valid."""
    problem = check(text)
    assert problem is not None, f"valid: {text[:200]!r}"
    return problem
