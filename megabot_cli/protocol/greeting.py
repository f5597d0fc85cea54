"""Whom and what an upstream greets: what `connection_established` says of session and user."""

from __future__ import annotations

from typing import Final

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE, HeadMetadata

GREETING: Final = "connection_established"


class Greeted(msgspec.Struct):
    """What a greeting names; None where it does not."""

    session_id: str | None = None
    user_id: str | None = None


class _Greeting(msgspec.Struct):
    payload: Greeted | None = None
    metadata: HeadMetadata | None = None


_decoder = msgspec.json.Decoder(_Greeting)


def greeted(greeting: str | bytes) -> Greeted:
    """The session and the user that a `connection_established` names, whatever else it holds."""
    try:
        found = _decoder.decode(greeting)
    except UNREADABLE:
        return Greeted()
    named = found.payload or Greeted()
    if named.user_id is None and found.metadata is not None:
        named.user_id = found.metadata.user_id
    return named
