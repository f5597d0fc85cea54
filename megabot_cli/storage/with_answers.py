"""What clients said, with the answers: for who shows or counts requests with what came to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from megabot_cli.recording.answers import ENDING, messages_in
from megabot_cli.recording.record import Record
from megabot_cli.recording.reply_times import is_last_chunk
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.record_reader import RecordReader

_MOST: Final = 10_000  # ids and links that are remembered
_MOST_OF_ONE: Final = 100  # open requests of one id

_Key = tuple[str | None, str]  # link and id


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


class _Asked(msgspec.Struct):
    """A request on a link: whether it is one of theirs, and how far its answer is."""

    theirs: bool
    streamed: bool = False  # as a whole text it may come once more
    ended: bool = False

    def may_be_for(self, kind: str | None) -> bool:
        return not self.ended and (not self.streamed or kind == "chat_receive")


class _Theirs:
    """Takes records in their order, and says which are the clients' own or answer them."""

    def __init__(self, clients: tuple[str, ...]) -> None:
        self._fits = Selection(clients=clients).matcher().matches
        # Programs count their messages from one, and so do others: who asked first is answered
        # first.
        self._asked: dict[_Key, list[_Asked]] = {}
        self._links: dict[str | None, bool] = {}  # of theirs; whether they alone ask there

    def concerns(self, record: Record) -> bool:
        if record.client is not None:
            fits = self._fits(record)
            if fits:
                self._links.setdefault(record.link, True)
                _let_go(self._links)
            elif record.direction == "to_upstream":
                self._links[record.link] = False
            if record.direction == "to_upstream":
                self._remember(record, theirs=fits)
            return fits
        if record.kind != "message" or record.direction != "to_client":
            return False
        if record.type == "batch":
            heads = [head for head, _ in messages_in(record.data or "") if head is not None]
            found = [self._answers(record.link, head.reply_to, head.type) for head in heads]
            return any(found)
        streamed = record.type == "chat_stream" and is_last_chunk(record)
        return self._answers(record.link, record.reply_to, record.type, streamed=streamed)

    def _answers(
        self, link: str | None, reply_to: str | None, kind: str | None, *, streamed: bool = False
    ) -> bool:
        if reply_to is None:
            return self._links.get(link, False)
        asked = self._asked.get((link, reply_to))
        if asked is None:
            return False
        request = next((each for each in asked if each.may_be_for(kind)), asked[-1])
        request.streamed = request.streamed or streamed
        request.ended = request.ended or kind in ENDING
        if request.ended and not request.theirs:
            asked[:] = [each for each in asked if each is not request]
            if not asked:
                del self._asked[link, reply_to]
        return request.theirs

    def _remember(self, record: Record, *, theirs: bool) -> None:
        for head, _ in messages_in(record.data or ""):
            if head is None or head.id is None:
                continue
            asked = self._asked.setdefault((record.link, head.id), [])
            asked[:] = [each for each in asked[-_MOST_OF_ONE:] if not each.ended]
            asked.append(_Asked(theirs))
            _let_go(self._asked)


def _let_go(known: dict[Any, Any]) -> None:
    """Forget the oldest of too many."""
    if len(known) > _MOST:
        del known[next(iter(known))]
