"""The flight recorder: the last minutes in memory, written out when somebody wants them."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadConfiguration, NotFound
from megabot_cli.protocol.ids import make_id
from megabot_cli.recording.derived_header import DUMPED_AT
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.redaction import Redactor
from megabot_cli.storage.recording_writer import RecordingWriter
from megabot_cli.storage.told import Item, Told, item_of, queued_size

_BATCH = 200
# What an item takes beside its payload, measured with tracemalloc and rounded up.
ITEM_BYTES = 400


class FlightRecorder:
    """Keeps what passed in the last `window_s` seconds, at most `most_bytes` of it.

    `put` takes the same as `Recorder.put`. What is kept is redacted when it is written:
    until then it is as private as the process's memory. `clock` gives nanoseconds.
    """

    def __init__(
        self,
        window_s: float,
        most_bytes: int,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._window_ns = int(window_s * 1e9)
        self._most_bytes = most_bytes
        self._clock = clock
        self._items: deque[Item] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, kind: str, **told: Unpack[Told]) -> None:
        """Keep one record."""
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
        """Keep a whole message; `head` is there for others that watch in the same way."""
        opcode = "binary" if binary else None
        item = (self._clock(), kind, direction, client, link, session, opcode, data)
        self._keep(item, len(data))

    def _keep(self, item: Item, size: int) -> None:
        """Keep it, and let go of what is too old or too much."""
        self._items.append(item)
        self.bytes += ITEM_BYTES + size
        oldest = item[0] - self._window_ns
        while self.bytes > self._most_bytes or self._items[0][0] < oldest:
            self.bytes -= ITEM_BYTES + queued_size(self._items.popleft())
            if not self._items:
                break

    def snapshot(self) -> list[Item]:
        """What is kept now, the oldest first."""
        oldest = self._clock() - self._window_ns
        return [item for item in self._items if item[0] >= oldest]


def write_dump(
    items: list[Item],
    folder: Path,
    settings: RecordingSettings,
    *,
    tool: str,
    upstream: str,
    reason: str,
    now_ns: int,
    now: float,
    known: KnownSecrets | None = None,
) -> Path:
    """Write kept items as a sealed recording of its own; returns its folder.

    `now_ns` and `now` are the same moment on the items' clock and in Unix seconds. Raises
    NotFound when there is nothing to write and BadConfiguration when the disk refuses; then
    nothing is left of it. It works for a while: not for the event loop's thread.
    """
    if not items:
        raise NotFound(
            "Nothing passed in the time that the flight recorder keeps (--ring)",
            "A longer --ring keeps more.",
        )
    began = now - (now_ns - items[0][0]) / 1e9
    # Named and listed by when it is made: of two that reach back to one moment the later is newer.
    recording = make_id("rec", int(now * 1000), os.urandom(5))
    redactor = Redactor(os.urandom(32), settings.redact_keys, settings.redact_patterns, known)
    header = Header(
        recording=recording,
        started_at=_iso_time(began),
        tool=tool,
        upstream=redactor.redact_query(upstream),
        redaction=redactor.policy,
        labels={"flight_recorder": redactor.clean(reason), DUMPED_AT: _iso_time(now)},
    )
    path = folder / recording
    first_ns = items[0][0]
    writer = RecordingWriter(path, header, settings, redactor, lambda: first_ns)
    queue = deque(items)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        writer.open_segment()
        while queue:
            writer.write_batch(queue, min(len(queue), _BATCH))
        writer.seal()
        writer.finish()  # who is told of it may move it, or choose from it
    except OSError as fault:
        # What it holds is still in memory: half of it would only take the room of the next try.
        writer.abandon()
        shutil.rmtree(path, ignore_errors=True)
        raise BadConfiguration(
            f"Cannot write the flight recorder to {folder}: {fault.strerror or fault}",
            "Name another folder with `recording.folder`.",
        ) from fault
    return path


def _iso_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
