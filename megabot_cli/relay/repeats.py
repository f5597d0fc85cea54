"""What an upstream says again after a resume: its clients have had it, and are spared it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE

# An upstream hands in what it believes undelivered when a session resumes, not much later.
REPEATS_S = 30.0

_Fingerprint = tuple[str, str, bytes, bytes]


class _Metadata(msgspec.Struct):
    reply_to: msgspec.Raw = msgspec.Raw()


class _Said(msgspec.Struct):
    id: str
    type: str
    payload: msgspec.Raw
    metadata: _Metadata | None = None


_decoder = msgspec.json.Decoder(_Said)


class Repeats:
    """The messages that came before a link fell. Each is known again once.

    A repeat has the id, the type and the payload of a message that came, and answers the same
    one; its timestamp may be new. Ids alone would not do: there are upstreams that give all chunks
    of a stream one, and others that count anew on each connection.
    """

    def __init__(self, had: Iterable[bytes], now: float) -> None:
        self._until = now + REPEATS_S
        self._had = {found for data in had if (found := _fingerprint(data)) is not None}

    def over(self, now: float) -> bool:
        """Whether there is nothing left to look for."""
        return now > self._until or not self._had

    def holds(self, data: bytes) -> bool:
        """Whether this is one of them; asked again about the same, it no longer is."""
        found = _fingerprint(data)
        if found is None or found not in self._had:
            return False
        self._had.discard(found)
        return True


def _fingerprint(data: bytes) -> _Fingerprint | None:
    try:
        said = _decoder.decode(data)
    except UNREADABLE:
        return None
    reply_to = said.metadata.reply_to if said.metadata is not None else b""
    return said.id, said.type, bytes(said.payload), bytes(reply_to)
