"""What clients said, with the answers: for who shows or counts requests with what came to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from megabot_cli.recording.answers import messages_in
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.record_reader import RecordReader

_MOST: Final = 10_000  # ids and links that are remembered


def choose_with_answers(reader: RecordReader, wanted: Selection) -> Iterator[tuple[Record, bytes]]:
    """As `choose`; where clients are named also what answers them.

    An answer that all clients of a session hear has no client of its own. Beside chosen records
    (`around`) stands what stands there.
    """
    if not wanted.clients or wanted.around:
        yield from choose(reader, wanted)
        return
    theirs = _Theirs(wanted.clients)
    left = wanted.limit
    for record, line in choose(reader, msgspec.structs.replace(wanted, clients=(), limit=None)):
        if not theirs.concerns(record):
            continue
        yield record, line
        if left is not None and (left := left - 1) <= 0:
            return


class _Theirs:
    """Takes records in their order, and says which are the clients' own or answer them."""

    def __init__(self, clients: tuple[str, ...]) -> None:
        self._fits = Selection(clients=clients).matcher().matches
        self._asked: dict[tuple[str | None, str], None] = {}  # by link and id
        self._links: dict[str | None, bool] = {}  # of theirs; whether they alone ask there

    def concerns(self, record: Record) -> bool:
        if record.client is not None:
            fits = self._fits(record)
            if fits:
                self._remember(record)
            elif record.direction == "to_upstream":
                self._links[record.link] = False
            return fits
        if record.kind != "message" or record.direction != "to_client":
            return False
        if record.type == "batch":
            names = [head.reply_to for head, _ in messages_in(record.data or "") if head]
        else:
            names = [record.reply_to]
        return any(self._answers(record.link, name) for name in names)

    def _answers(self, link: str | None, reply_to: str | None) -> bool:
        if reply_to is None:
            return self._links.get(link, False)
        return (link, reply_to) in self._asked

    def _remember(self, record: Record) -> None:
        self._links.setdefault(record.link, True)
        if record.direction == "to_upstream":
            for head, _ in messages_in(record.data or ""):
                if head is not None and head.id is not None:
                    self._asked[record.link, head.id] = None
                    _let_go(self._asked)
        _let_go(self._links)


def _let_go(known: dict[Any, Any]) -> None:
    """Forget the oldest of too many."""
    if len(known) > _MOST:
        del known[next(iter(known))]
