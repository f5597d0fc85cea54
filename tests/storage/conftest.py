"""Recorders on a temporary folder, and recordings written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from tests.storage.indexed import index_in_blocks, messages, sealed_bytes

NewRecorder = Callable[..., Recorder]

LIMIT_S = 20.0
"""So long a recorder may take for what it does at once."""


@pytest.fixture
def new_recorder(tmp_path: Path) -> Iterator[NewRecorder]:
    """Makes started recorders in one folder, with settings by name; closes them at the end."""
    made = []

    def make(folder: Path = tmp_path, **settings: Any) -> Recorder:
        recorder = Recorder(
            folder, RecordingSettings(**settings), tool="megabot test", upstream="ws://127.0.0.1/ws"
        )
        made.append(recorder)
        recorder.start()
        return recorder

    yield make
    for recorder in made:
        recorder.close()


def recorder_with(folder: Path, clock: Callable[[], int]) -> Recorder:
    return Recorder(folder, RecordingSettings(), tool="t", upstream="ws://h/ws", clock=clock)


def read(source: Path | str) -> list[Record]:
    with open_recording(source) as reader:
        return list(reader)


def segment_bytes(records: list[Record], **header: Any) -> bytes:
    """An unsealed segment, as a crash leaves it."""
    lines = [encode_header(Header(recording="rec_1", started_at="2026-11-23T04:12:09Z", **header))]
    return b"".join(lines + [encode_record(record) for record in records])


def marks(count: int, first: int = 1) -> list[Record]:
    return [Record(n=n, t=n * 10, kind="mark", note=f"no {n}") for n in range(first, first + count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "rec_1"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def segment(folder: Path) -> Path:
    """Two thousand messages, a hundred of each type and session, and an index of small blocks."""
    path = folder / "000001.jsonl"
    content = sealed_bytes(messages(2000), n=2001)
    path.write_bytes(content)
    index_in_blocks(path, content, 10_000)
    return path
