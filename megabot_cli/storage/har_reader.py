"""Reads the WebSocket messages of a HAR file as records; memory does not grow with the file.

The file is read twice: first through, to find where the messages of each connection stand,
then connection by connection, all at the same pace, so that the records are in order of time.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from megabot_cli.errors import BadData
from megabot_cli.recording.format_v1 import MAX_LINE_BYTES, MAX_PAYLOAD_BYTES
from megabot_cli.recording.har import (
    MESSAGES,
    BadMessage,
    HarMessage,
    as_record,
    decode_message,
    unix_us,
)
from megabot_cli.recording.json_scan import NoDocument, Place, Torn, elements, tokens, walk
from megabot_cli.recording.json_walk import path_of
from megabot_cli.recording.record import Record
from megabot_cli.storage.foreign_reader import ForeignReader
from megabot_cli.storage.more_secrets import MoreSecrets

_CHUNK_BYTES: Final = 256 * 1024
_NEAR_CHUNK_BYTES: Final = 16 * 1024  # of each connection that is read at the same time
_MOST_CONNECTIONS: Final = 100_000
_STRINGS: Final[dict[tuple[str | int, ...], str]] = {
    ("request", "url"): "url",
    ("startedDateTime",): "started_at",
    ("_link",): "link",
}


class _Entry(msgspec.Struct):
    """Entry `place` of the file. One with messages, from byte `messages_at` on, has a `number`."""

    place: int
    number: int = 0
    messages_at: int | None = None
    url: str = ""
    started_at: str = ""
    link: str = ""
    client: str = ""
    began_us: int = 0


class HarReader(ForeignReader):
    """`file` must be one that can be sought in."""

    form = "har"

    def __init__(self, file: BinaryIO, name: str, secrets: MoreSecrets, *, strict: bool) -> None:
        super().__init__(file, name, secrets, strict=strict)
        self._descriptor = file.fileno()
        self._entries: list[_Entry] = []
        self._find_entries()
        if not self._entries:
            raise BadData(
                f"{name} holds no WebSocket messages.",
                "Chromium and Playwright export them as `_webSocketMessages`.",
            )
        first = min(self._entries, key=lambda entry: entry.began_us)
        self._begin("har", first.began_us, first.url)

    # -- where everything is ---------------------------------------------------------------

    def _find_entries(self) -> None:
        entry: _Entry | None = None
        try:
            for place in walk(tokens(self._chunks(0, _CHUNK_BYTES), flat=True)):
                names = place.names
                if len(names) < 3 or names[0] != "log" or names[1] != "entries":
                    continue
                if entry is None or entry.place != names[2]:
                    self._keep(entry)
                    assert isinstance(names[2], int | str)
                    entry = _Entry(names[2] if isinstance(names[2], int) else 0)
                _note(entry, place)
        except Torn as fault:
            self._torn(fault.offset, 1)
        except NoDocument as fault:
            raise BadData(f"{self.name} {fault}.", "A HAR file is one JSON document.") from None
        self._keep(entry)

    def _keep(self, entry: _Entry | None) -> None:
        if entry is None or entry.messages_at is None:
            return
        if len(self._entries) >= _MOST_CONNECTIONS:
            raise BadData(f"{self.name} holds more than {_MOST_CONNECTIONS} connections.")
        entry.number = len(self._entries)
        if not entry.link:  # a browser's: each of its connections is a client with a link
            entry.link = f"link_{entry.number + 1}"
            entry.client = f"client_{entry.number + 1}"
        entry.began_us = unix_us(entry.started_at) or self._first_us(entry.messages_at)
        self._entries.append(entry)

    def _first_us(self, messages_at: int) -> int:
        """When the first message travelled, for an entry that does not say when it began."""
        message = next(self._messages(messages_at, tell=False), None)
        return message.at_us if message is not None else 0

    def _chunks(self, offset: int, size: int) -> Iterator[bytes]:
        while chunk := os.pread(self._descriptor, size, offset):
            yield chunk
            offset += len(chunk)

    def around(self) -> Iterator[tuple[str, str]]:
        """Headers, cookies, bodies and all else. A value stands under its key, a header under its
        name."""
        name: tuple[list[str | int], bytes] | None = None
        with contextlib.suppress(Torn):  # told when the file was read through
            for place in walk(tokens(self._chunks(0, _CHUNK_BYTES), flat=True)):
                if place.event in ("begin", "end") or MESSAGES in place.names[3:4]:
                    continue
                text = place.text if place.text is not None else self._some_of(place)
                above, key = place.names[:-1], place.names[-1] if place.names else ""
                if place.event == "string":
                    text = b'"' + text + b'"'
                    if key == "name":
                        name = (above, text)
                where = path_of(place.names)
                said = text.decode("utf-8", "replace")
                if place.event == "flat":
                    yield where, _with_its_name(said, above)
                elif key == "value" and name is not None and name[0] == above:
                    yield where, _named(name[1].decode("utf-8", "replace"), said, above)
                else:
                    yield where, "{" + msgspec.json.encode(str(key)).decode() + f":{said}}}"

    def _some_of(self, place: Place) -> bytes:
        """The inside of a string that is too long to be kept, as far as a message may go."""
        length = min(place.end - place.start - 2, MAX_LINE_BYTES)
        return os.pread(self._descriptor, length, place.start + 1)

    # -- what was said ---------------------------------------------------------------------

    def _messages(self, at: int, *, tell: bool = True) -> Iterator[HarMessage]:
        """The messages of one connection, in their order. What is none is told and left out."""
        try:
            for start, end in elements(tokens(self._chunks(at, _NEAR_CHUNK_BYTES), at, flat=True)):
                try:
                    yield decode_message(self._content(start, end))
                except BadMessage as fault:
                    if tell:
                        self._skip(f"what stands at byte {start}", str(fault))
        except (Torn, NoDocument):
            return  # told when the file was read through

    def _content(self, start: int, end: int) -> bytes:
        if end - start > MAX_LINE_BYTES:
            raise BadMessage("longer than a message may be")
        return os.pread(self._descriptor, end - start, start)

    def _records(self) -> Iterator[Record]:
        for at_us, entry, message in self._in_order():
            if message is None:
                record = Record(n=1, t=0, kind="open", note=self._without_query(entry.url))
                payload = None
            else:
                record, payload = as_record(message)
            record.client = record.client or entry.client or None
            record.link = entry.link
            if record.size is not None and record.size > MAX_PAYLOAD_BYTES:
                record.data, record.data_b64, payload = None, None, None
                record.note = f"a payload of {record.size} bytes is longer than a recording keeps"
            yield self._finished(record, at_us, payload)

    def _in_order(self) -> Iterator[tuple[int, _Entry, HarMessage | None]]:
        """What happened on all connections, by time; None is that a connection began.

        Messages of one connection keep their order even where their times do not.
        """
        waiting = sorted(self._entries, key=lambda entry: -entry.began_us)
        under_way: list[tuple[int, int, int, HarMessage | None, Iterator[HarMessage]]] = []
        while waiting or under_way:
            if waiting and (not under_way or waiting[-1].began_us <= under_way[0][0]):
                entry = waiting.pop()
                assert entry.messages_at is not None
                messages = self._messages(entry.messages_at)
                heapq.heappush(under_way, (entry.began_us, 0, entry.number, None, messages))
                continue
            at_us, _, number, message, messages = heapq.heappop(under_way)
            yield at_us, self._entries[number], message
            following = next(messages, None)
            if following is not None:
                at_us = max(at_us, following.at_us)
                order = following.n if following.n is not None else 0
                heapq.heappush(under_way, (at_us, order, number, following, messages))


def _note(entry: _Entry, place: Place) -> None:
    """Take what a value of an entry tells of its connection."""
    below = tuple(place.names[3:])
    if place.event == "begin" and below == (MESSAGES,):
        entry.messages_at = place.start
    elif place.event == "string" and place.text is not None and below in _STRINGS:
        _set(entry, _STRINGS[below], b'"' + place.text + b'"')
    elif place.event == "flat" and place.text is not None and below == ("request",):
        with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            request = msgspec.json.decode(place.text, type=dict[str, msgspec.Raw])
            _set(entry, "url", request.get("url", b'""'))


def _with_its_name(text: str, above: list[str | int]) -> str:
    """A flat object; one with a name and a value (a header, a cookie) as one with that key."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if {"name", "value"} <= fields.keys():
            value = bytes(fields["value"]).decode("utf-8", "replace")
            return _named(bytes(fields["name"]).decode("utf-8", "replace"), value, above)
    return text


def _named(name: str, value: str, above: list[str | int]) -> str:
    """`above` are the keys that lead there: every cookie is a credential, whatever its name."""
    key = '"cookie"' if "cookies" in above or name.lower() == '"set-cookie"' else name
    return f"{{{key}:{value}}}"


def _set(entry: _Entry, name: str, content: bytes | msgspec.Raw) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeError):
        setattr(entry, name, msgspec.json.decode(content, type=str))
