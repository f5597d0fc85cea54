"""Turn what waits in a recorder's queue into redacted lines, and lines into sealed segments."""

from __future__ import annotations

import base64
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.protocol.envelope import UNREADABLE, Head, decode_head, peek
from megabot_cli.protocol.greeting import GREETING, greeted
from megabot_cli.recording.answers import messages_in
from megabot_cli.recording.format_v1 import (
    MAX_PAYLOAD_BYTES,
    Header,
)
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.record import MessageLine, Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.stream_redaction import STREAMED, Cleaned, StreamRedactor
from megabot_cli.recording.unpacking import unpack
from megabot_cli.storage.askers import ASKER, HELD, NOTES, Askers
from megabot_cli.storage.housekeeping import Housekeeping
from megabot_cli.storage.record_batch import Batch, lost_record
from megabot_cli.storage.segment_writer import SegmentWriter
from megabot_cli.storage.told import OF_MESSAGE, Gap, Item, payload_of, queued_size

# The writer holds the interpreter while it encodes; after a batch it lets the event loop on.
BATCH_RECORDS: Final = 200
_BATCH_BYTES: Final = 256 * 1024
_LOOK_EACH_NS: Final = 1_000_000_000  # whether the file is still there

_MOST_NAMES: Final = 4096


class RecordingWriter:
    """The writing end of one recording: numbers, redacts, encodes, rotates, seals.

    Belongs to one thread. Where it raises OSError nothing was written and no number is used.
    `start_ns` is what `clock` said at the header's `started_at`; None: it is now. `give_way` is
    called before each message.
    """

    def __init__(
        self,
        folder: Path,
        header: Header,
        settings: RecordingSettings,
        redactor: Redactor,
        clock: Callable[[], int],
        start_ns: int | None = None,
    ) -> None:
        self._folder = folder
        self._header = header
        self._settings = settings
        self._redactor = redactor
        self._may_hold_secret = redactor.may_hold_secret
        self._streams = StreamRedactor(redactor)
        self._clock = clock
        self._housekeeping = Housekeeping(folder.parent, settings)
        self._start_ns = clock() if start_ns is None else start_ns
        self._names: dict[tuple[str | None, ...], tuple[str | None, ...]] = {}
        self._names_for = redactor.known.now  # a name may hold what is known for secret later
        self._askers = Askers()
        self._users: dict[str | None, str] = {}  # by link, as its greeting or a fact told
        self._segment: SegmentWriter | None = None
        self._segment_since_ns = 0
        self._synced_ns = self._looked_ns = 0
        self._n = 0
        self._t = 0
        self.give_way: Callable[[], object] | None = None
        self.records = 0
        self.bytes = 0
        self.redactions = 0
        self.segments = 0
        # Of what waits still: the disk refused something after it. Here never, for nothing is.
        self.written_of_refused = 0
        # When the oldest record was put that is taken from the queue and not written.
        self.held_since_ns: int | None = None

    def open_segment(self) -> None:
        """Begin the first segment."""
        self._go_on_in(self._next_segment())

    def _next_segment(self) -> SegmentWriter:
        self._header.segment = self.segments + 1
        return SegmentWriter(self._folder, self._header)

    def _go_on_in(self, segment: SegmentWriter) -> None:
        self._segment = segment
        self._segment_since_ns = self._synced_ns = self._clock()
        self._header.previous = segment.name
        self.segments += 1
        if self.segments == 1:
            self._housekeeping.begin()

    def write_batch(self, queue: deque[Item], most: int) -> tuple[int, int]:
        """Write the first records of `queue`, at most `most` and what came together with the
        last of them, with one write.

        Return how many they were and the size of their payloads. Where the disk refuses they
        are in the queue again.
        """
        if self._names_for is not self._redactor.known.now:
            self._names_for = self._redactor.known.now
            self._names.clear()
        taken: list[Item] = []
        notes = 0
        self.held_since_ns = queue[0][0] if queue else None
        batch = Batch(self._t)
        most = min(most, BATCH_RECORDS)
        while queue and len(batch.records) < most and batch.payload_bytes < _BATCH_BYTES:
            item = queue.popleft()
            taken.append(item)
            at = (item[0] - self._start_ns) // 1000
            batch.t = max(batch.t, at)
            if len(item) == OF_MESSAGE:
                self._add_messages(batch, item)
            elif item[1] in NOTES:
                notes += 1
                self._take_note(item)
            else:
                batch.payload_bytes += queued_size(item)
                batch.add(self._record(self._n + len(batch.records) + 1, batch.t, item, None))
        try:
            self._append(batch)
        except Exception:
            queue.extendleft(reversed(taken))
            raise
        finally:
            self.held_since_ns = None
        return len(batch.records) + notes, batch.payload_bytes

    def _take_note(self, item: Item) -> None:
        """What a relay tells of a message that waits for its turn, or goes up now."""
        _, kind, _, client, link, _, _, message_id = item[:8]
        note = self._askers.held if kind == HELD else self._askers.asked
        note(link, message_id, client)

    def know(self, secrets: list[str]) -> None:
        """These are the secrets in use from now on; for one that shares them with nobody."""
        self._redactor.known = KnownSecrets(secrets)

    def keep_house(self) -> None:
        """Begin a new segment, or have the disk keep this one, when it is time."""
        segment = self._open()
        now = self._clock()
        if now - self._looked_ns >= _LOOK_EACH_NS:
            self._looked_ns = now
            segment.look_for_it()
        too_old = now - self._segment_since_ns >= self._settings.segment_age_s * 1e9
        if segment.records and (too_old or segment.bytes >= self._settings.segment_bytes):
            self._rotate()
        elif (
            self._settings.fsync == "interval"
            and now - self._synced_ns >= self._settings.fsync_interval_s * 1e9
        ):
            segment.sync()
            self._synced_ns = now

    def _rotate(self) -> None:
        """Seal the segment and go on in the next.

        Where there is no room for that this one has no end, and can still tell what is missing.
        """
        segment = self._open()
        # What waits in the queue may have come before now, and must not come before the end.
        segment.write_end(self._n + 1, self._t)
        try:
            # Whoever sees the next one finds the end of this one written.
            following = self._next_segment()
        except OSError:
            segment.take_back_end()
            raise
        try:
            segment.finish()
        except OSError:
            following.discard()
            raise
        self._sealed(segment)
        self._go_on_in(following)

    def seal(self) -> None:
        """End the segment, and with it the recording."""
        segment = self._open()
        segment.seal(self._n + 1, self._now_t())
        self._sealed(segment)

    def _sealed(self, segment: SegmentWriter) -> None:
        self._n += 1
        self._segment = None
        self._housekeeping.sealed(segment.sealed_path)

    def abandon(self) -> None:
        """Close the segment as it is: nobody wants the rest."""
        if self._segment is not None:
            self._segment.abandon()
            self._segment = None

    def finish(self) -> None:
        """Wait until what was sealed is compressed, and what is old is gone."""
        self._housekeeping.finish()

    def seal_after_fault(self, fault: str, fault_ns: int, dropped: int) -> None:
        """Say in the recording what is missing since `fault_ns`, and end it, if the disk has room
        again."""
        if self._segment is None:
            return
        t = self._now_t()
        last_words = Batch(t)
        failed_t = max(self._t, (fault_ns - self._start_ns) // 1000)
        last_words.add(Record(n=self._n + 1, t=failed_t, kind="fault", note=fault))
        last_words.add(Record(n=self._n + 2, t=t, kind="gap", lost=dropped))
        segment = self._segment
        # No room, no last words: it stays unclean, which says the same to a reader.
        with contextlib.suppress(OSError):
            self._append(last_words)
            self.seal()
        segment.abandon()

    def _open(self) -> SegmentWriter:
        assert self._segment is not None
        return self._segment

    def _now_t(self) -> int:
        return max(self._t, (self._clock() - self._start_ns) // 1000)

    def _append(self, batch: Batch) -> None:
        records = batch.records
        if not records:
            return
        segment = self._open()
        lines = batch.lines()
        segment.write(lines, records, redactions=batch.redactions)
        if self._settings.fsync == "always":
            segment.sync()
        self._n, self._t = self._n + len(records), batch.t
        self.records += len(records)
        self.bytes += len(lines)
        self.redactions += batch.redactions

    def _add_messages(self, batch: Batch, item: Item) -> None:
        """The message of an item, or those that came together."""
        *outer, data = item
        n, t = self._n + len(batch.records), batch.t
        for each in data if type(data) is list else (data,):
            if self.give_way is not None:
                self.give_way()
            n += 1
            batch.payload_bytes += len(each)
            made = self._plain(n, t, outer, each)
            if isinstance(made, MessageLine):
                batch.records.append(made)
            else:
                batch.add(self._record(n, t, (*outer, each), made))

    def _plain(
        self, n: int, t: int, outer: Sequence[Any], data: bytes
    ) -> MessageLine | Cleaned | None:
        """The line of a text message without a trace of a secret, which most are; None for
        any other, or what a secret over several chunks leaves of it. The same line as `_record`
        makes, at a third of the cost."""
        _, kind, direction, client, link, session, opcode = outer
        if opcode is not None or len(data) > MAX_PAYLOAD_BYTES:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        if self._may_hold_secret(text):
            return None
        user = message_id = message_type = reply_to = None
        head: Head | None
        try:
            head = decode_head(data)
        except UNREADABLE:
            head = peek(data)
        if head is not None:
            message_id, message_type, metadata = head.id, head.type, head.metadata
            if metadata is not None:
                user, reply_to = metadata.user_id, metadata.reply_to
            if message_type == GREETING:
                self._meet(kind, direction, link, text)
        if message_type in STREAMED:
            cleaned = self._streams.clean_pieces(text, link)
            if cleaned is not None:
                return cleaned
        user = user or self._users.get(link)
        named = (message_id, message_type, reply_to)
        client = self._client_of(kind, direction, client, link, named, text)
        # What was copied out of the envelope is as free of traces as the text itself.
        names = self._names.get((client, link, session, user))
        if names is None:
            names = self._clean_names(client, link, session, user)
        client, link, session, user = names
        return MessageLine(
            n, t, kind, direction, client, link, session, user, message_id, message_type,
            reply_to, None, len(data), text,
        )  # fmt: skip

    def _client_of(
        self,
        kind: str,
        direction: str | None,
        client: str | None,
        link: str | None,
        named: tuple[str | None, str | None, str | None],
        text: str | None,
    ) -> str | None:
        """Who asked, where `ASKER` stands for it; what clients ask is remembered for that.
        `named` are the id, the type and what is replied to."""
        if client is None:
            return None
        message_id, message_type, reply_to = named
        if client == ASKER:
            return self._askers.of(link, reply_to, message_type)
        if direction == "to_upstream":
            if message_id is not None:
                self._askers.asked(link, message_id, client)
            if message_type == "batch" and text is not None:
                for head, _ in messages_in(text):
                    if head is not None and head.id is not None:
                        self._askers.asked(link, head.id, client)
        elif reply_to is not None and kind == "message":
            self._askers.of(link, reply_to, message_type)  # it may be over
        elif reply_to is not None and message_type == "connection_error":
            self._askers.refused(link, reply_to, client)
        return client

    def _meet(self, kind: str, direction: str | None, link: str | None, text: str) -> None:
        """Remember whom the upstream greets on a link: its records are that user's from now on."""
        if kind == "message" and direction == "to_client":
            self._remember_user(link, greeted(text).user_id)

    def _remember_user(self, link: str | None, user: str | None) -> None:
        if link is None or user is None:
            return
        if len(self._users) >= _MOST_NAMES and link not in self._users:
            del self._users[next(iter(self._users))]
        self._users[link] = user

    def _clean_names(self, *names: str | None) -> tuple[str | None, ...]:
        """Names as they may be shown; clients and sessions come again and again."""
        clean = tuple(self._redactor.clean(name) if name is not None else None for name in names)
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        self._names[names] = clean
        return clean

    def _record(self, n: int, t: int, item: Item, cleaned: Cleaned | None) -> Record:
        data = payload_of(item)
        if isinstance(data, Gap):
            lost, lost_bytes = data.take()
            return Record(n=n, t=t, kind="gap", lost=lost, lost_bytes=lost_bytes)
        try:
            record = _as_record(n, t, item)
            if record.kind == "open":
                self._remember_user(record.link, record.user)
            elif record.type == GREETING and record.data is not None:
                self._meet(record.kind, record.direction, record.link, record.data)
            record.user = record.user or self._users.get(record.link)
            record.client = self._client_of(
                *(record.kind, record.direction, record.client, record.link),
                (record.id, record.type, record.reply_to),
                record.data,
            )
            return self._streams.redact_record(record, cleaned)
        except Exception as fault:  # one odd record must not end the recording, nor go unseen
            return lost_record(n, t, item[1], fault)


def _whole(item: Item) -> Item:
    """An item of a message with what its envelope says."""
    *outer, opcode, data = item
    head = None if opcode is not None else peek(data)
    if head is None:
        return (*outer, None, None, None, None, opcode, data, *([None] * 6))
    named = (head.user_id, head.id, head.type, head.reply_to)
    return (*outer, *named, opcode, data, *([None] * 6))


def _as_record(n: int, t: int, item: Item) -> Record:
    if len(item) == OF_MESSAGE:
        item = _whole(item)
    _, kind, direction, client, link, session, user, message_id, message_type, reply_to = item[:10]
    opcode, data, code, reason, by, note, size, redacted = item[10:]
    record = Record(
        n=n,
        t=t,
        kind=kind,
        direction=direction,
        client=client,
        link=link,
        session=session,
        user=user,
        id=message_id,
        type=message_type,
        reply_to=reply_to,
        opcode=opcode if opcode == "binary" else None,
        code=code,
        reason=reason,
        by=by,
        note=note,
    )
    if data is not None:
        _add_payload(record, data)
    if size is not None:
        record.size = size
    record.redacted = redacted
    return record


def _add_payload(record: Record, data: bytes | str) -> None:
    """Text stays text; binary, and text that no UTF-8 can say, becomes base64."""
    payload = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    record.size = len(payload)
    if record.size > MAX_PAYLOAD_BYTES:
        record.note = f"a payload of {record.size} bytes is longer than a recording keeps"
        return
    if record.opcode == "binary" and isinstance(data, str):
        record.data = data  # the pseudonym of one that was redacted before
        return
    if record.opcode == "binary" and unpack(record, payload):
        return
    if record.opcode is None:
        try:
            record.data = payload.decode()
            return
        except UnicodeDecodeError:
            record.note = "not UTF-8"
    record.data_b64 = base64.b64encode(payload).decode()
