"""The beginning of a recording: its name and folder, its header, and what writes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadConfiguration, MegabotError, NotPermitted
from megabot_cli.protocol.ids import make_id
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.redaction import Redactor
from megabot_cli.storage.recording_writer import RecordingWriter
from megabot_cli.storage.writer_process import WriterProcess


class NewRecording(msgspec.Struct, frozen=True):
    """`folder` is there after `make`."""

    id: str
    folder: Path
    header: Header
    writer: RecordingWriter | WriterProcess

    def make(self) -> None:
        """Make the folder and the first segment; BadConfiguration or NotPermitted when it
        cannot be, and nothing is left."""
        try:
            self.folder.mkdir(mode=0o700)
            self.writer.open_segment()
        except OSError as fault:
            shutil.rmtree(self.folder, ignore_errors=True)  # else it passes for a torn recording
            raise cannot_record(self.folder.parent, fault) from fault

    def unmake(self) -> None:
        """As if it had never been made."""
        self.writer.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)


class Beginnings(msgspec.Struct, frozen=True):
    """What the recordings of one relay have in common. `clock` gives nanoseconds that never go
    back, `wall` Unix seconds; `apart`: a process of its own writes."""

    parent: Path
    settings: RecordingSettings
    tool: str
    upstream: str
    labels: dict[str, str]
    clock: Callable[[], int]
    wall: Callable[[], float]
    apart: bool
    known: KnownSecrets | None

    def new(self) -> NewRecording:
        # Read together: every record's time is told from here, also in a process that is only
        # ready a third of a second later.
        started_at, start_ns = self.wall(), self.clock()
        recording = make_id("rec", int(started_at * 1000), os.urandom(5))
        settings = self.settings
        # The key is forgotten with the recording: a pseudonym can never be undone.
        key = os.urandom(32)
        redactor = Redactor(key, settings.redact_keys, settings.redact_patterns, self.known)
        folder = self.parent / recording
        header = Header(
            recording=recording,
            started_at=_utc(started_at),
            tool=self.tool,
            upstream=redactor.redact_query(self.upstream),
            redaction=redactor.policy,
            labels={name: redactor.clean(text) for name, text in self.labels.items()},
        )
        writer: RecordingWriter | WriterProcess = (
            WriterProcess(folder, header, settings, key, redactor.known, start_ns)
            if self.apart
            else RecordingWriter(folder, header, settings, redactor, self.clock, start_ns)
        )
        return NewRecording(recording, folder, header, writer)


def cannot_record(folder: Path, fault: OSError) -> MegabotError:
    kind = NotPermitted if isinstance(fault, PermissionError) else BadConfiguration
    return kind(
        f"Cannot record in {folder}: {fault.strerror or fault}.",
        "Name another folder (--record DIR or `recording.folder`), or do without (--no-record).",
    )


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
