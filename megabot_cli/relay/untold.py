"""Errors for clients that were away when these happened: they hear them when they come back."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE

MOST_FOR_EACH = 100  # as many as may wait while a link is down


class Untold(msgspec.Struct, frozen=True):
    """What an absent client would have been answered."""

    message_id: str | None
    code: int
    error: str
    message: str


class _Metadata(msgspec.Struct):
    reply_to: str | None = None


class _Payload(msgspec.Struct):
    code: int
    error: str
    message: str


class _Refusal(msgspec.Struct):
    type: str
    payload: _Payload
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


_decoder = msgspec.json.Decoder(_Refusal)


def untold_in(notice: bytes, *, named: bool = True) -> Untold | None:
    """The error that a notice of the relay's holds; None: it is about no message. Not `named`: in
    this dialect messages have no ids, and none is told."""
    try:
        said = _decoder.decode(notice)
    except UNREADABLE:
        return None
    if said.type != "connection_error" or (named and said.metadata.reply_to is None):
        return None
    return Untold(said.metadata.reply_to, *msgspec.structs.astuple(said.payload))


class UntoldErrors:
    """By the name of a client that has left and may come back; the latest `most_clients`.
    `named`: see `untold_in`."""

    def __init__(self, most_clients: int, *, named: bool = True) -> None:
        self._most_clients = most_clients
        self._named = named
        self._kept: OrderedDict[str, list[Untold]] = OrderedDict()

    def expect(self, name: str) -> None:
        """A client has left that can come back by this name."""
        self._kept.setdefault(name, [])
        self._kept.move_to_end(name)
        if len(self._kept) > self._most_clients:
            self._kept.popitem(last=False)

    def keep(self, name: str, untold: Untold) -> None:
        """Nothing of it, if nobody can come back by that name, or it has too many already."""
        kept = self._kept.get(name)
        if kept is not None and len(kept) < MOST_FOR_EACH:
            kept.append(untold)

    def keep_notices(self, name: str, notices: list[bytes]) -> None:
        """The errors among what the relay has said to it in vain."""
        for notice in notices:
            if (untold := untold_in(notice, named=self._named)) is not None:
                self.keep(name, untold)

    def take(self, name: str) -> list[Untold]:
        return self._kept.pop(name, [])
