"""A recording's writing end in a process of its own.

Redacting and encoding a record costs the interpreter some microseconds, and a thread that
does it holds the lock that the event loop needs. Here a child process does it. Whoever puts
records packs them, some dozens at a time while they are at hand; the parent's thread only
writes those packs to the pipe and sleeps until they are on disk.

    parent                                   child (`python -m megabot_cli.storage.writer_process`)
    length, marshal of (word, arguments)  →
    and after "write" the packs themselves
                                          ←  length, marshal of (fault or None, counters)

When the parent is gone the child writes what it has got and ends; the segment stays as it
is, unclean, as after any crash. The child has its own process group: Ctrl-C is not for it.
It shares the parent's session: Linux lets whole sessions take turns at a core (autogroup), and
in another one it could not give way to the parent alone.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import marshal
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import msgspec

try:
    import fcntl
except ImportError:  # no such system
    fcntl = None  # type: ignore[assignment]

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.redaction import Redactor
from megabot_cli.storage.recording_writer import BATCH_RECORDS, RecordingWriter
from megabot_cli.storage.told import (
    OF_MESSAGE,
    Gap,
    Item,
    gap_item,
    payload_of,
    queued_size,
    records_in,
)

_DATA = 11
_BATCH_PACKS = 64
_BATCH_BYTES = 1024 * 1024
# With no more to write than this the child lets the event loop go first, before each message,
# where they share a core: else what comes meanwhile waits until all are written. It does so on a
# thread that the system prefers others to: behind their equal it lets them wait once that has had
# less of the core than they, whatever it gives way.
_UNHURRIED_PACKS = 8
_UNHURRIED_NICENESS = 10  # more than ours: a tenth of a core that all want, too little in a hurry
_KEPT_BYTES = 64 * 1024  # a larger buffer is let go
_LENGTH_BYTES = 4
_PIPE_BYTES = 1024 * 1024  # a batch goes in one piece, and nobody takes turns over it
_KEPT_S = 0.1  # a writer that has kept house so lately need not be asked to
_GARBAGE_OBJECTS = 100_000
_END_S = 20.0  # compressing a segment of the usual size takes two


_give_way = getattr(os, "sched_yield", None)  # None: no such system

# Three times as quick as marshal, where it counts: on the thread that puts.
_encode_into = msgspec.msgpack.Encoder().encode_into
_decode_pack = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode


class _Pack(msgspec.Struct, frozen=True, gc=False):
    """Records on their way to the child; `size` is that of their payloads."""

    content: bytearray
    records: int
    size: int
    first_ns: int


class WriterProcess:
    """As `RecordingWriter`, in a child process. Belongs to one thread, but for `pack`."""

    def __init__(
        self,
        folder: Path,
        header: Header,
        settings: RecordingSettings,
        key: bytes,
        known: KnownSecrets,
        start_ns: int,
    ) -> None:
        self._folder = folder
        self._header = header
        self._settings = settings
        self._key = key
        self._known = known
        self._told = known.now
        self._start_ns = start_ns
        self._child: subprocess.Popen[bytes] | None = None
        # How many bytes were put so far: cheaper than to add up what is packed. None: it is not.
        self.put_bytes: Callable[[], int] | None = None
        self._packed_bytes = 0
        self._packs: deque[_Pack] = deque()
        # Memory that the system hands out anew costs more than what is written into it.
        self._buffers: deque[bytearray] = deque(maxlen=_BATCH_PACKS)
        self._kept_at = 0.0  # monotonic seconds
        self._packing = threading.Lock()  # or two threads would take turns at one queue
        self.records = 0
        self.bytes = 0
        self.redactions = 0
        self.segments = 0
        self.written_of_refused = 0

    def start(self) -> None:
        """Start the process, which takes a while to get ready; nothing is written yet."""
        if self._child is None:
            path = os.pathsep.join(path for path in sys.path if path)
            self._child = subprocess.Popen(
                # -P: a `megabot_cli` in the folder that we happen to stand in is none of ours.
                [sys.executable, "-P", "-m", "megabot_cli.storage.writer_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,
                env={**os.environ, "PYTHONPATH": path},
            )
            _widen(self._child.stdin)

    def abandon(self) -> None:
        """End the process; a segment that is open stays as it is."""
        self._end()

    def open_segment(self) -> None:
        """Begin the first segment, in a process that is started for it."""
        self.start()
        header, settings = (msgspec.json.encode(each) for each in (self._header, self._settings))
        try:
            self._told = self._known.now
            begin = (self._key, list(self._told.values), self._start_ns)
            self._ask("open", str(self._folder), header, settings, *begin)
        except OSError:
            self._end()
            raise

    @property
    def held_since_ns(self) -> int | None:
        """When the oldest record was put that is taken from the queue and not written."""
        try:
            return self._packs[0].first_ns
        except IndexError:
            return None

    def pack(self, queue: deque[Item]) -> None:
        """Make all that is in `queue` ready to travel, in order. Any thread may."""
        with self._packing:
            items = [queue.popleft() for _ in range(len(queue))]
            if not items:
                return
            content = self._buffers.pop() if self._buffers else bytearray()
            try:
                _encode_into(items, content)
            except (TypeError, ValueError):  # a gap among them, or text that is no Unicode
                _encode_into([_plain(item) for item in items], content)
            if self.put_bytes is None:
                size = sum(map(queued_size, items))
            else:
                # One that is just being put may be counted with the next: the sum is right.
                size = self.put_bytes() - self._packed_bytes
                self._packed_bytes += size
            self._packs.append(_Pack(content, records_in(items), size, items[0][0]))

    def write_batch(self, queue: deque[Item], most: int) -> tuple[int, int]:
        """As `RecordingWriter.write_batch`, but for `most`; a pack is written whole.

        It keeps house too: one answer of the child serves both. Where the disk refuses, the
        packs are kept, and `written_of_refused` says how many of their records are written.
        """
        if self._told is not self._known.now:
            # What was packed before the secret was known may hold it as well.
            self._told = self._known.now
            self._ask("know", list(self._told.values))
        self.pack(queue)
        taken: list[_Pack] = []
        travelling = 0
        for pack in itertools.islice(self._packs.copy(), _BATCH_PACKS):
            taken.append(pack)
            travelling += len(pack.content)
            if travelling >= _BATCH_BYTES:
                break
        contents = [pack.content for pack in taken]
        written = self.records
        try:
            self._ask("write", list(map(len, contents)), packs=contents)
        except OSError:
            self.written_of_refused = self.records - written
            raise
        self._kept_at = time.monotonic()
        for pack in taken:
            self._packs.popleft()
            if len(pack.content) <= _KEPT_BYTES:
                self._buffers.append(pack.content)
        return sum(pack.records for pack in taken), sum(pack.size for pack in taken)

    def keep_house(self) -> None:
        if time.monotonic() - self._kept_at >= _KEPT_S:
            self._ask("keep_house")

    def seal(self) -> None:
        """End the segment, and the process with it."""
        self._ask("seal")
        self._end()

    def finish(self) -> None:
        """Nothing: the process does that before it ends."""

    def seal_after_fault(self, fault: str, fault_ns: int, dropped: int) -> None:
        with contextlib.suppress(OSError):
            self._ask("seal_after_fault", fault, fault_ns, dropped)
        self._end()

    def _ask(self, word: str, *arguments: Any, packs: Sequence[bytearray] = ()) -> None:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise OSError(errno.EPIPE, "the recorder's process is not there")
        try:
            _send(child.stdin, (word, arguments), packs)
            answer = _receive(child.stdout)
        except (BrokenPipeError, ValueError):
            answer = None
        if answer is None:
            raise OSError(errno.EPIPE, "the recorder's process has ended")
        fault, counters = answer
        self.records, self.bytes, self.redactions, self.segments = counters
        if fault is not None:
            raise OSError(*fault)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _plain(item: Item) -> Item:
    """An item that can travel: a gap goes as what it counts, half characters as marks."""
    data = payload_of(item)
    if isinstance(data, Gap):
        item = (*item[:_DATA], data.take(), *item[_DATA + 1 :])
    return tuple(
        each.encode("utf-8", "replace").decode() if isinstance(each, str) else each for each in item
    )


def _arrived(item: Item) -> Item:
    """What an item was before it travelled."""
    if len(item) == OF_MESSAGE or not isinstance(payload_of(item), list):
        return item
    gap = Gap()
    gap.lose_many(*payload_of(item))
    return gap_item(item[0], gap)


def _widen(pipe: IO[bytes] | None) -> None:
    """Give a pipe room for a batch, where the system can (Linux, and as much as it allows)."""
    if pipe is not None and fcntl is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _send(pipe: IO[bytes], value: Any, packs: Sequence[bytearray] = ()) -> None:
    content = marshal.dumps(value)
    head = len(content).to_bytes(_LENGTH_BYTES, "big") + content
    pipe.write(b"".join((head, *packs)) if packs else head)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next value; None when the other end is gone."""
    length = pipe.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return None
    content = pipe.read(int.from_bytes(length, "big"))
    # What comes is our own other end's: the pipe has nobody else at it.
    return marshal.loads(content)  # noqa: S302


def _let_others_go_first() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no niceness of its own
        with contextlib.suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, 0) + _UNHURRIED_NICENESS
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def _write(writer: RecordingWriter, packs: Sequence[bytes]) -> None:
    # Decoded as they are written: a few packs at a time are enough to fill a batch.
    queue: deque[Item] = deque()
    for content in packs:
        queue.extend(map(_arrived, _decode_pack(content)))
        if len(queue) >= BATCH_RECORDS:
            writer.write_batch(queue, len(queue))
            writer.keep_house()
    while queue:
        writer.write_batch(queue, len(queue))
        writer.keep_house()


class Child:
    """The other end: does what it is told, one word after another."""

    def __init__(self) -> None:
        self._writer: RecordingWriter | None = None
        self._unhurried = ThreadPoolExecutor(1, "unhurried", _let_others_go_first)

    def do(self, word: str, arguments: tuple[Any, ...]) -> None:
        """Raises OSError as the writer does; of a word that failed a part may be written."""
        if word == "open":
            self._open(*arguments)
            return
        writer = self._writer
        if writer is None:
            raise OSError(errno.EINVAL, "nothing was opened")
        if word != "write":
            getattr(writer, word)(*arguments)
        elif len(arguments) <= _UNHURRIED_PACKS:
            writer.give_way = _give_way
            self._unhurried.submit(_write, writer, arguments).result()
        else:
            writer.give_way = None
            _write(writer, arguments)

    def _open(
        self,
        folder: str,
        header: bytes,
        settings: bytes,
        key: bytes,
        secrets: list[str],
        start_ns: int,
    ) -> None:
        decoded = msgspec.json.decode(settings, type=RecordingSettings)
        known = KnownSecrets(secrets)
        redactor = Redactor(key, decoded.redact_keys, decoded.redact_patterns, known)
        self._writer = RecordingWriter(
            Path(folder),
            msgspec.json.decode(header, type=Header),
            decoded,
            redactor,
            time.monotonic_ns,
            start_ns,
        )
        self._writer.open_segment()

    def finish(self) -> None:
        self._unhurried.shutdown()
        if self._writer is not None:
            self._writer.finish()

    @property
    def counters(self) -> tuple[int, int, int, int]:
        writer = self._writer
        if writer is None:
            return 0, 0, 0, 0
        return writer.records, writer.bytes, writer.redactions, writer.segments


def main() -> None:
    """Serve the parent until it is gone."""
    # Records make no cycles; to look through them for garbage took a twelfth of the time.
    gc.set_threshold(_GARBAGE_OBJECTS)
    child = Child()
    told, answers = sys.stdin.buffer, sys.stdout.buffer
    while (asked := _receive(told)) is not None:
        fault: tuple[int, str] | None = None
        word, arguments = asked
        if word == "write":
            arguments = tuple(map(told.read, *arguments))
        try:
            child.do(word, arguments)
        except OSError as refused:
            fault = (refused.errno or errno.EIO, refused.strerror or str(refused))
        except Exception as defect:  # the parent must hear of it, whatever it is
            fault = (errno.EIO, f"{type(defect).__name__}: {defect}")
        with contextlib.suppress(BrokenPipeError):
            _send(answers, (fault, child.counters))
    child.finish()


if __name__ == "__main__":
    main()
