"""Break a good message, in a way that one can name."""

from __future__ import annotations

from typing import Any

import msgspec

from megabot_cli.gateway.scenarios.declaration import Spoiled

_NOT_UTF8 = b"\xff\xfe"


class Broken(msgspec.Struct, frozen=True):
    """What is to be written instead, as text or as a binary message."""

    content: bytes
    binary: bool = False


def spoil(message: bytes, kind: Spoiled) -> Broken:
    """`message`, which is whole and valid, as `kind` says."""
    match kind:
        case "broken_json":
            return Broken(message[: max(1, len(message) // 2)])
        case "binary":
            return Broken(bytes(byte ^ 0xFF for byte in message[:64]), binary=True)
        case "not_utf8":
            middle = len(message) // 2
            return Broken(message[:middle] + _NOT_UTF8 + message[middle:])
    fields: dict[str, Any] = msgspec.json.decode(message)
    match kind:
        case "wrong_types":
            fields |= {"id": 17, "payload": "not an object", "timestamp": {"at": "noon"}}
        case "missing_fields":
            fields = {"payload": {}}
        case "unknown_type":
            fields["type"] = "no_such_type"
    return Broken(msgspec.json.encode(fields))
