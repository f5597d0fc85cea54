"""Why a WebSocket ended: the codes we send and read (RFC 6455, 7.4; 4xxx are ours)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class CloseCode(IntEnum):
    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    SLOW_CLIENT = 4008
    NO_PONG = 4009
    CREDENTIAL_REFUSED = 4500
    REPLACED = 4503
    TOO_MANY_CLIENTS = 4504
    SESSION_ENDED = 4508


NO_CODE = 1005  # of a close frame that gave none

MEANING: Mapping[int, str] = MappingProxyType(
    {
        1000: "done",
        1001: "the peer went away",
        1002: "protocol error",
        1003: "data of a kind that is not accepted",
        1005: "closed without a code",
        1006: "the line was cut",
        1007: "text that is not UTF-8",
        1008: "refused by policy",
        1009: "message too big",
        1011: "internal error",
        1012: "service restarts",
        1013: "try again later",
        1015: "TLS failed",
        4008: "client too slow",
        4009: "no pong",
        4500: "credential refused or revoked",
        4503: "replaced by a client of the same name",
        4504: "too many clients",
        4508: "session ended upstream",
    }
)

# These codes say what a receiver saw and must never be sent (RFC 6455, 7.4.1).
_UNSENDABLE = {1004: 1011, 1005: 1000, 1006: 1011, 1015: 1011}

MAX_REASON_BYTES = 123  # a control frame holds 125 bytes, two of them the code


def sendable(code: int | None) -> int:
    """The code to pass on for one that was seen: itself where it may be sent, else its nearest."""
    if code is None:
        return CloseCode.NORMAL
    if code in _UNSENDABLE:
        return _UNSENDABLE[code]
    in_range = 1000 <= code <= 1014 or 3000 <= code <= 4999
    return code if in_range else CloseCode.INTERNAL_ERROR


def reason_bytes(reason: str) -> bytes:
    """A close reason cut to what a close frame can carry, never inside a character."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
