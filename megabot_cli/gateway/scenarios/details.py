"""Every step in its long form, whichever way it was written."""

from __future__ import annotations

from typing import Any

from megabot_cli.gateway.scenarios.declaration import (
    Call,
    Complaint,
    Goodbye,
    News,
    Progress,
    Refusal,
    Reply,
    Step,
    Stream,
    Word,
    argument_of,
    word_of,
)

# What the gateway itself calls these.
_ERRORS: dict[int, str] = {
    400: "invalid_message",
    401: "authentication_failed",
    403: "not_permitted",
    404: "not_found",
    413: "message_too_large",
    429: "rate_limited",
    500: "internal",
    503: "unavailable",
}

_LONG_FORMS: dict[str, Any] = {
    "reply": lambda text: Reply(text=text),
    "stream": lambda text: Stream(text=text),
    "status": lambda status: Progress(status=status),
    "notify": lambda message: News(message=message),
    "tool_call": lambda tool: Call(tool=tool),
    "error": lambda code: Complaint(code=code, error=_ERRORS.get(code, "internal")),
    "close": lambda code: Goodbye(code=code),
    "refuse": lambda status: Refusal(status=status, error=_ERRORS.get(status, "unavailable")),
}

RATE_LIMITED = Complaint(code=429, error="rate_limited", message="Too many messages.")


def detailed(step: Word | Step) -> Any:
    """What a step's word is to do: the long form of what stands there; None for a bare word."""
    if step == "rate_limit":
        return RATE_LIMITED
    word, argument = word_of(step), argument_of(step)
    if word in _LONG_FORMS and isinstance(argument, str | int):
        return _LONG_FORMS[word](argument)
    return argument
