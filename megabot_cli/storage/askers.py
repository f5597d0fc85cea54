"""Whose answer is whose on a link that many clients share, read out of what passes."""

from __future__ import annotations

from typing import Final

from megabot_cli.recording.answers import ENDING

ASKER: Final = "\0asker"
"""Stands for the client that an answer of the upstream is for, until it is written."""

# Kinds of what a relay tells of a message beside its record, and what is not written: it went no
# further, and now it does. They name link, id and client.
HELD: Final = "\0held"
LET_GO: Final = "\0let go"
NOTES: Final = frozenset((HELD, LET_GO))

_UNCLEAR: Final = ""
_MOST: Final = 4096  # requests of a link that are remembered at least, and links
_MOST_OF_ONE: Final = 100  # open requests of one id


class Askers:
    """Who asked what, by link and id: the newest ones.

    A relay that lets clients of one id take turns says which of them must wait. Where a second
    one's message goes up before the first was answered all the same, nobody is named until one
    uses the id anew.
    """

    def __init__(self) -> None:
        self._links: dict[str | None, _OfLink] = {}

    def asked(self, link: str | None, message_id: str, client: str) -> None:
        """A client's message went to the upstream."""
        of_link = self._links.get(link)
        if of_link is None:
            if len(self._links) >= _MOST:
                del self._links[next(iter(self._links))]
            of_link = self._links[link] = _OfLink()
        of_link.asked(message_id, client)

    def held(self, link: str | None, message_id: str, client: str) -> None:
        """It did not go to the upstream after all, or not yet."""
        of_link = self._links.get(link)
        if of_link is not None:
            of_link.held(message_id, client)

    def refused(self, link: str | None, message_id: str, client: str) -> None:
        """A relay has refused a client's message: of several with this id it was not this one."""
        of_link = self._links.get(link)
        if of_link is not None and of_link.is_shared(message_id):
            of_link.held(message_id, client)

    def of(self, link: str | None, reply_to: str | None, message_type: str | None) -> str | None:
        """The client whose message the upstream answers; None where that is not known."""
        of_link = self._links.get(link)
        if of_link is None or reply_to is None:
            return None
        return of_link.answered(reply_to, ends=message_type in ENDING)


class _OfLink:
    """The two youngest generations, so that nothing need be looked through to forget."""

    def __init__(self) -> None:
        # By id its client, or those of several requests that have it.
        self._open: dict[str, str | list[str]] = {}
        self._young: dict[str, str] = {}
        self._old: dict[str, str] = {}

    def asked(self, message_id: str, client: str) -> None:
        before = self._open.get(message_id)
        if before is None:
            self._open[message_id] = client
        elif isinstance(before, str):
            self._open[message_id] = [before, client]
        elif len(before) < _MOST_OF_ONE:
            before.append(client)
        if len(self._open) > _MOST:  # most of them are never answered
            self._old = {each: _one_of(clients) for each, clients in self._open.items()}
            self._open = {}

    def held(self, message_id: str, client: str) -> None:
        clients = self._open.get(message_id)
        if isinstance(clients, list):
            if client in clients:
                clients.remove(client)
            if len(clients) == 1:
                self._open[message_id] = clients[0]
        elif clients == client:
            del self._open[message_id]

    def is_shared(self, message_id: str) -> bool:
        return isinstance(self._open.get(message_id), list)

    def answered(self, reply_to: str, *, ends: bool) -> str | None:
        clients = self._open.get(reply_to)
        if clients is None:
            return self._young.get(reply_to) or self._old.get(reply_to) or None
        client = _one_of(clients)
        if ends:
            del self._open[reply_to]
            if isinstance(clients, list) and client and len(clients) > 1:
                self._open[reply_to] = clients[1:]
            self._young[reply_to] = client
            if len(self._young) > _MOST:
                self._old, self._young = self._young, {}
        return client or None


def _one_of(clients: str | list[str]) -> str:
    """The client of all these requests, if they are one's."""
    if isinstance(clients, str):
        return clients
    return clients[0] if len(set(clients)) == 1 else _UNCLEAR
