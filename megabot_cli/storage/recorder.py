"""Record what passes: `put` on the event loop costs about a microsecond, a thread does the rest."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Unpack

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import is_disk_full
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.storage.askers import NOTES
from megabot_cli.storage.new_recording import Beginnings, NewRecording, cannot_record
from megabot_cli.storage.recording_folder import unclean_end
from megabot_cli.storage.told import Gap, Item, Told, gap_item, item_of
from megabot_cli.storage.writer_process import WriterProcess

_WAKE_RECORDS: Final = 2000  # so many new ones are not left to wait for the next turn
# While records flow they are written in small turns: a long one takes the interpreter's lock away
# from the event loop for milliseconds, and the slowest answers are slower by as much. A process of
# its own takes nothing away, but each turn wakes a thread here and the process there.
_STEADY_S: Final = 0.005
_STEADY_APART_S: Final = 0.02
# Of `flush_s` so much is left for waking up and writing.
_WAKING_SHARE: Final = 0.2
_LOOK_BYTES: Final = 32 * 1024  # a payload so long is looked at with its limit at once
_PACK_RECORDS: Final = 64  # still in the processor's cache when they are packed


class Recorder:
    """Writes a recording of its own into `folder`: `<folder>/<recording id>/000001.jsonl`…

    `start` makes it, `put` takes records, `close` seals it; `put` belongs to one thread.
    `clock` gives nanoseconds that never go back, `wall` Unix seconds. `on_fault` is called
    once, on the writer's thread, when nothing more can be written; from then on records are
    counted in `dropped` and thrown away. `apart`: a process of its own redacts and encodes,
    so that the event loop never waits for the interpreter; its clock is the system's.
    `known` are the secrets in use; more may come in use while this records.

    While `must_wait` is True the links are to read no further. Plain numbers for metrics:
    `depth`, `depth_bytes`, `lag_s`, `records_written`, `bytes_written`, `redactions`,
    `segments`; under pressure `blocks` (times that links were asked to wait), `gaps`, `lost`,
    `lost_bytes`; after a fault `dropped`, `fault` says why `healthy` is False, and `disk_full`
    whether room was missing.
    """

    def __init__(
        self,
        folder: Path,
        settings: RecordingSettings,
        *,
        tool: str,
        upstream: str,
        labels: dict[str, str] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
        on_fault: Callable[[str], None] | None = None,
        apart: bool = False,
        known: KnownSecrets | None = None,
    ) -> None:
        self._beginnings = Beginnings(
            folder, settings, tool, upstream, labels or {}, clock, wall, apart, known
        )
        self._settings = settings
        self._clock = clock
        self._on_fault = on_fault
        self._previous: str | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._turn_over = threading.Condition()
        self._ending = threading.Lock()
        self._closed = False
        self._most_records = settings.queue_records
        self._most_bytes = settings.queue_bytes
        # A small queue is looked at for every record, a large one may go a little over its limit.
        seldom = _PACK_RECORDS if apart else _WAKE_RECORDS
        self._look_every = max(1, min(seldom, self._most_records // 1000))
        self._look_bytes = min(_LOOK_BYTES, self._most_bytes // 1000)
        self._idle_s = settings.flush_s * (1 - _WAKING_SHARE)
        self._steady_s = min(_STEADY_APART_S if apart else _STEADY_S, self._idle_s)
        self._impeded = True  # until `start`
        self.must_wait = False
        self.blocks = 0
        self.gaps = 0
        self.lost = 0
        self.lost_bytes = 0
        self._go_over_to(self._beginnings.new())

    def _go_over_to(self, one: NewRecording) -> None:
        """Nothing waits for it, and nothing has gone wrong with it."""
        self._new = one
        self.id, self.folder, self._writer = one.id, one.folder, one.writer
        if isinstance(self._writer, WriterProcess):
            self._writer.put_bytes = lambda: self._put_bytes
        self._stopping = False
        # Changed by the thread that puts.
        self._queue: deque[Item] = deque()
        self._put_records = 0
        self._put_bytes: int = 0
        self._look_at = self._look_every
        self._wake_at = _WAKE_RECORDS
        self._dropping = False
        self._gap: Gap | None = None
        # Changed by the writer's thread.
        self._pause_s = self._idle_s
        self._done_records = 0
        self._done_bytes = 0
        self.fault: str | None = None
        self._fault_ns = 0
        self.disk_full = False  # whether that is the fault
        # Changed by both, only once something has gone wrong.
        self.dropped = 0

    @property
    def healthy(self) -> bool:
        return self.fault is None

    @property
    def previous(self) -> str | None:
        """The torn segment that the last recording in the same folder ended with, if it did."""
        return self._previous

    @property
    def records_written(self) -> int:
        return self._writer.records

    @property
    def bytes_written(self) -> int:
        return self._writer.bytes

    @property
    def redactions(self) -> int:
        return self._writer.redactions

    @property
    def segments(self) -> int:
        return self._writer.segments

    @property
    def depth(self) -> int:
        """Records that wait to be written."""
        return self._put_records - self._done_records

    @property
    def depth_bytes(self) -> int:
        """Bytes of payload that wait to be written."""
        return self._put_bytes - self._done_bytes

    @property
    def lag_s(self) -> float:
        """How long the oldest record in the queue has waited; after a fault none does."""
        if self.fault is not None:
            return 0.0
        since_ns = self._writer.held_since_ns
        try:
            since_ns = self._queue[0][0] if since_ns is None else since_ns
        except IndexError:
            return 0.0
        return max(0.0, (self._clock() - since_ns) / 1e9)

    def prepare(self) -> None:
        """Get ready while the caller does something else; `start` or `close` follows."""
        if isinstance(self._writer, WriterProcess):
            self._writer.start()

    def start(self) -> None:
        """Make the folder and the first segment.

        BadConfiguration or NotPermitted when it cannot.
        """
        parent, new = self._beginnings.parent, self._new
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._previous = new.header.previous = unclean_end(parent)
        except OSError as fault:
            raise cannot_record(parent, fault) from fault
        new.make()
        self._go()

    def begin_again(self, timeout_s: float = 30.0) -> bool:
        """After a fault, record what comes from now on, as another recording. The one before is
        sealed as by `close`. False: there was no fault, or it is closed.

        Waits for the disk, on any thread. Raises as `start`, and then nothing has changed.
        """
        with self._ending:
            if self.fault is None or self._closed:
                return False
            one = self._beginnings.new()
            one.make()
            if not self._end_thread(timeout_s):
                one.unmake()
                fault = OSError(errno.EIO, "the disk does not answer")
                raise cannot_record(one.folder.parent, fault)
            self._go_over_to(one)
            self._go()
        return True

    def _go(self) -> None:
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        self._impeded = False

    def put(self, kind: str, **told: Unpack[Told]) -> None:
        """Take one record; never waits, never raises."""
        if self._impeded and kind in NOTES:
            return  # it is no record that could be missed
        data = told.get("data")
        self._keep(item_of(self._clock(), kind, told), 0 if data is None else len(data))

    def keep_message(
        self,
        direction: str,
        data: bytes,
        head: object,
        link: str | None,
        session: str | None,
        client: str | None = None,
        binary: bool = False,
        kind: str = "message",
    ) -> None:
        """As `put`, of a whole message. What its envelope says is read out of it later: `head`
        is there for others that watch in the same way, and costs less than leaving it out."""
        size = len(data)
        if self._impeded and not self._may_enter(size):
            return
        opcode = "binary" if binary else None
        self._queue.append((self._clock(), kind, direction, client, link, session, opcode, data))
        records = self._put_records = self._put_records + 1
        self._put_bytes += size
        if records >= self._look_at or size > self._look_bytes:
            self._look(records)

    def keep_messages(
        self,
        direction: str,
        batch: list[bytes],
        link: str | None,
        session: str | None,
        client: str | None,
        binary: bool,
    ) -> None:
        """As `keep_message`, of all that one read brought: one look at the clock, one entry in
        the queue."""
        if self._impeded:
            for data in batch:
                self.keep_message(direction, data, None, link, session, client, binary)
            return
        opcode = "binary" if binary else None
        count = len(batch)
        if count == 1:  # most reads bring one
            data = batch[0]
            size = len(data)
            self._queue.append(
                (self._clock(), "message", direction, client, link, session, opcode, data)
            )
        else:
            size = sum(map(len, batch))
            self._queue.append(
                (self._clock(), "message", direction, client, link, session, opcode, batch)
            )
        records = self._put_records = self._put_records + count
        self._put_bytes += size
        if records >= self._look_at or size > self._look_bytes:
            self._look(records)

    def _keep(self, item: Item, size: int) -> None:
        if self._impeded and not self._may_enter(size):
            return
        self._queue.append(item)
        records = self._put_records = self._put_records + 1
        self._put_bytes += size
        if records >= self._look_at or size > self._look_bytes:
            self._look(records)

    def _look(self, records: int) -> None:
        """What need not be asked for every record."""
        self._look_at = records + self._look_every
        if isinstance(self._writer, WriterProcess):
            self._writer.pack(self._queue)
        if records >= self._wake_at:
            self._wake_at = records + _WAKE_RECORDS
            self._wake.set()
        if self.depth >= self._most_records or self.depth_bytes >= self._most_bytes:
            self._feel_pressure()

    def _feel_pressure(self) -> None:
        if self.fault is not None or self._stopping:
            return
        if self._settings.on_pressure == "gap":
            self._impeded = self._dropping = True
            self._wake.set()
        elif not self.must_wait:
            self.must_wait = True
            self.blocks += 1
            self._wake.set()

    def _may_enter(self, size: int) -> bool:
        """Whether a record is taken although something is wrong; counts it where it is not."""
        if not self._dropping or self._stopping or self.fault is not None:
            self.dropped += 1
            return False
        if self._half_drained():
            self._impeded = self._dropping = False
            return True
        self.lost += 1
        self.lost_bytes += size
        if self._gap is None or not self._gap.lose(size):
            self._gap = Gap()
            self._gap.lose(size)
            self.gaps += 1
            self._queue.append(gap_item(self._clock(), self._gap))
            self._put_records += 1
        return False

    def _half_drained(self) -> bool:
        return self.depth <= self._most_records // 2 and self.depth_bytes <= self._most_bytes // 2

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was put is written. False when time ran out, or after a fault."""
        target = self._put_records
        with self._turn_over:
            self._wake.set()
            self._turn_over.wait_for(
                lambda: self._done_records >= target or self.fault is not None, timeout_s
            )
        return self._done_records >= target and self.fault is None

    def close(self, timeout_s: float = 30.0) -> Path | None:
        """Write what waits and seal the recording; return its folder, None if there is none.

        Waits for the disk. May be called more than once. After a fault the recording is
        sealed when the disk has room again, with a `gap` that says how much is missing; else
        it stays unclean, and readable.
        """
        with self._ending:
            self._closed = True
            if self._thread is not None:
                self._end_thread(timeout_s)
            elif isinstance(self._writer, WriterProcess) and not self._writer.segments:
                self._writer.abandon()
            return self.folder if self._writer.segments else None

    def _end_thread(self, timeout_s: float) -> bool:
        """Have it write what waits and end; whether it has."""
        self._impeded = self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        self._thread = None
        return True

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._take_turn()
            self._write_waiting()
            self._writer.seal()
            self._writer.finish()
        except OSError as fault:
            self.disk_full = is_disk_full(fault)
            self._fail(f"the recording cannot be written: {fault.strerror or fault}")
        except Exception as fault:  # a defect of ours must not look like a healthy recording
            self._fail(f"the recording stopped: {type(fault).__name__}: {fault}")
        if self.fault is not None:
            while not self._stopping:
                self._wake.wait()
                self._wake.clear()
            self._writer.seal_after_fault(self.fault, self._fault_ns, self.dropped)

    def _take_turn(self) -> None:
        """Wait until it is time, or until a lot waits; then write it."""
        self._wake.wait(self._pause_s)
        self._wake.clear()
        wrote = self._write_waiting()
        self._pause_s = self._steady_s if wrote else self._idle_s
        self._writer.keep_house()
        self._relieve()
        with self._turn_over:
            self._turn_over.notify_all()

    def _write_waiting(self) -> bool:
        """Write what waits now; return whether anything did.

        What comes meanwhile is left for the next turn, else a steady flow would be written
        record by record.
        """
        waiting = found = self.depth
        while waiting > 0:
            records, payload_bytes = self._writer.write_batch(self._queue, waiting)
            waiting -= records
            self._done_records += records
            self._done_bytes += payload_bytes
            self._writer.keep_house()
            self._relieve()
        return found > 0

    def _relieve(self) -> None:
        if self.must_wait and self._half_drained():
            self.must_wait = False

    def _fail(self, fault: str) -> None:
        self.fault = fault
        self._fault_ns = self._clock()
        self._impeded = True
        self.must_wait = False
        self.dropped += self.depth - self._writer.written_of_refused
        self._queue.clear()
        self._done_records, self._done_bytes = self._put_records, self._put_bytes
        with self._turn_over:
            self._turn_over.notify_all()
        if self._on_fault is not None:
            self._on_fault(fault)
