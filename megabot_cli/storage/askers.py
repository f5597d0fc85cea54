"""Whose answer is whose on a link that many clients share, read out of what passes."""

from __future__ import annotations

from typing import Final

ASKER: Final = "\0asker"
"""Stands for the client that an answer of the upstream is for, until it is written."""

_ENDS: Final = frozenset(("chat_receive", "tool_result", "connection_error"))
_UNCLEAR: Final = ""
_MOST: Final = 4096  # requests of a link that are remembered at least, and links


class Askers:
    """Who asked what, by link and id: the newest ones.

    Where a second client uses an id before the first was answered, nobody is named until one
    uses it anew.
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

    def of(self, link: str | None, reply_to: str | None, message_type: str | None) -> str | None:
        """The client whose message the upstream answers; None where that is not known."""
        of_link = self._links.get(link)
        if of_link is None or reply_to is None:
            return None
        return of_link.answered(reply_to, ends=message_type in _ENDS)


class _OfLink:
    """The two youngest generations, so that nothing need be looked through to forget."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._young: dict[str, str] = {}
        self._old: dict[str, str] = {}

    def asked(self, message_id: str, client: str) -> None:
        before = self._open.get(message_id, client)
        self._open[message_id] = client if before == client else _UNCLEAR
        if len(self._open) > _MOST:  # most of them are never answered
            self._old, self._open = self._open, {}

    def answered(self, reply_to: str, *, ends: bool) -> str | None:
        client = self._open.get(reply_to)
        if client is None:
            return self._young.get(reply_to) or self._old.get(reply_to) or None
        if ends:
            del self._open[reply_to]
            self._young[reply_to] = client
            if len(self._young) > _MOST:
                self._old, self._young = self._young, {}
        return client or None
