"""Recordings made of recordings, as their tests make them."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from megabot_cli.recording.format_v1 import decode_line
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.converting import write_part
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.losses import with_losses
from megabot_cli.storage.merging import merge
from megabot_cli.storage.more_secrets import MoreSecrets
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.sanitizing import Dropping, Sanitized, sanitize
from megabot_cli.storage.sealed_segment import SealedSegment
from megabot_cli.storage.verification import Verification, verify
from tests.storage.conftest import segment_bytes

GOLDEN = Path(__file__).parents[1] / "golden" / "recording_1_0"


SEALED = GOLDEN / "sealed"


LATER = GOLDEN / "later_minor.jsonl.gz"


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def header_of(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(lines_of(path)[0])
    return fields


def cut(source: Path, made: Path, **wanted: Any) -> Verification:
    with open_any(source) as reader, made.open("wb") as file:
        lines = with_losses(reader, Selection(**wanted))
        write_part(reader, lines, file.write, "cut")
    return verify(made)


def merged(made: Path, *sources: Path, **wanted: Any) -> list[Record]:
    with ExitStack() as stack:
        readers = [stack.enter_context(open_any(source)) for source in sources]
        file = stack.enter_context(made.open("wb"))
        merge(readers, [path.name for path in sources], file.write, wanted=Selection(**wanted))
    assert verify(made).clean, verify(made).problems
    with open_recording(made) as found:
        return list(found)


def sanitized(
    source: Path,
    made: Path,
    keys: tuple[str, ...] = (),
    patterns: tuple[str, ...] = (),
    **drop: Any,
) -> Sanitized:
    with open_any(source) as reader, made.open("wb") as file:
        secrets = MoreSecrets(keys, patterns)
        return sanitize(reader, with_losses(reader), file.write, secrets, Dropping(**drop))


def recorded(path: Path, some: list[Record], **header: Any) -> Path:
    """A sealed recording, so that what is made of it has no gap at its end."""
    path.write_bytes(sealed_bytes(segment_bytes(some, **header)))
    return path


def sealed_bytes(unsealed: bytes) -> bytes:
    made = io.BytesIO()
    header, *lines = unsealed.splitlines()
    segment = SealedSegment(made.write, header)
    for line in lines:
        record = decode_line(line)
        assert isinstance(record, Record)
        segment.add(record, line)
    segment.seal()
    return made.getvalue()
