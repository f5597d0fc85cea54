"""Which messages of the flat dialect greet: nothing in them says that they answer nobody."""

from __future__ import annotations

from typing import Final

from megabot_cli.recording.record import Record

_MOST_LINKS: Final = 10_000


class FlatGreetings:
    """Takes records in their order. The first `message` on a link that was seen to open greets,
    also where a client has spoken before it came."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}  # links that opened, and said nothing yet
        self._kept: dict[str, None] = {}  # links that stay while clients come and go

    def opened(self, record: Record) -> None:
        """A link was opened, or a client came to one; where it has it for itself that is the
        same."""
        link = record.link
        if link is None or (record.client is not None and link in self._kept):
            return
        if record.client is None:
            _note(self._kept, link)
        _note(self._due, link)

    def is_one(self, record: Record) -> bool:
        """Whether this message of the upstream's is a greeting."""
        link = record.link
        if link not in self._due:
            return False
        if record.kind != "message":
            if record.type == "message":  # a relay has greeted by itself: the upstream's is past
                del self._due[link]
            return False
        del self._due[link]
        return record.type == "message" and record.id is None


def _note(links: dict[str, None], link: str) -> None:
    links[link] = None
    if len(links) > _MOST_LINKS:
        del links[next(iter(links))]
