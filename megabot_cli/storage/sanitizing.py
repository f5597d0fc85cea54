"""A recording written again with less in it: more secrets redacted, payloads or types dropped."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from megabot_cli.recording.chosen_label import narrowed_label
from megabot_cli.recording.derived_header import CHOSEN, HOLES, MADE_FROM, derived_header
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.held_streams import HeldStreams, without_secrets
from megabot_cli.recording.line_edit import KNOWN, decode_fields, edit_line, unknown_fields
from megabot_cli.recording.record import Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.recording.stream_redaction import Cleaned
from megabot_cli.storage.converting import TOOL, Lines, new_recording_id
from megabot_cli.storage.more_secrets import MoreSecrets
from megabot_cli.storage.record_reader import SourceReader
from megabot_cli.storage.sealed_segment import SealedSegment, Write

_PAYLOAD: Final = ("data", "data_b64", "redacted")


class Sanitized(msgspec.Struct):
    """How many records were written, changed on the way, and left out for their type."""

    written: int = 0
    changed: int = 0
    dropped: int = 0


class Dropping(msgspec.Struct, frozen=True):
    """What is left out: records of these types (globs), the payloads of all."""

    types: Sequence[str] = ()
    payloads: bool = False


def sanitize(
    source: SourceReader, lines: Lines, write: Write, secrets: MoreSecrets, dropping: Dropping
) -> Sanitized:
    """Write the lines again; one that holds nothing to redact stays as it is.

    What was lost is among the lines, as `with_losses` gives them.
    Equal secrets have equal pseudonyms in the whole of it. `n` and `t` stay those of the
    source. WrongUsage for a pattern that is no regular expression.
    """
    redactor = secrets.redactor()
    sanitizer = _Sanitizer(redactor, dropping)
    segment = SealedSegment(write, sanitizer.header(source))
    done = Sanitized()

    def kept() -> Iterator[tuple[Record, bytes]]:
        for record, line in lines:
            if sanitizer.drops(record):
                done.dropped += 1
            else:
                yield record, line

    for record, line, cleaned in HeldStreams(redactor).through(kept()):
        clean, clean_line = sanitizer.line(record, line, cleaned)
        done.changed += clean_line is not line
        segment.add(clean, clean_line)
    segment.seal()
    done.written = segment.records
    return done


class _Sanitizer:
    def __init__(self, redactor: Redactor, dropping: Dropping) -> None:
        self._redactor = redactor
        self._dropping = dropping
        self._types = re.compile("|".join(map(fnmatch.translate, dropping.types)) or r"(?!)")

    def header(self, source: SourceReader) -> bytes:
        header = source.header or Header(recording="")
        labels = {"made_by": "sanitize", HOLES: "sanitize"}
        if self._dropping.types:
            labels[CHOSEN] = narrowed_label(self._redactor.clean(header.labels.get(CHOSEN, "")))
        unknown = (
            unknown_fields(source.header_line, Header.__struct_fields__) if source.header else {}
        )
        return derived_header(
            source.header_line,
            recording=new_recording_id(),
            tool=TOOL,
            labels={**self._clean_labels(header.labels), **labels},
            without=[name for name in header.labels if name != MADE_FROM],
            upstream=self._redactor.redact_query(header.upstream),
            redaction=self._redactor.policy,
            **self._clean_unknown(unknown),
        )

    def _clean_labels(self, labels: dict[str, str]) -> dict[str, str]:
        """Without what is a secret by itself, or by the label's name."""
        text, _ = self._redactor.redact_text(msgspec.json.encode(labels).decode())
        return msgspec.json.decode(text, type=dict[str, str])

    def drops(self, record: Record) -> bool:
        return record.type is not None and self._types.match(record.type) is not None

    def line(self, record: Record, line: bytes, cleaned: Cleaned | None) -> tuple[Record, bytes]:
        """The record and its line without secrets; the same line where there was none."""
        clean = self._clean(record, cleaned)
        changed = {
            name: getattr(clean, name)
            for name in KNOWN
            if getattr(clean, name) != getattr(record, name)
        }
        unknown = unknown_fields(line)
        if unknown:
            changed |= self._clean_unknown(unknown)
        return clean, edit_line(line, changed) if changed else line

    def _clean(self, record: Record, cleaned: Cleaned | None) -> Record:
        clean = without_secrets(self._redactor, record, cleaned)
        if self._dropping.payloads:
            for name in _PAYLOAD:
                setattr(clean, name, None)
        return clean

    def _clean_unknown(self, unknown: dict[str, Any]) -> dict[str, Any]:
        """Those keys of later versions that held secrets, with what stands there now."""
        if not unknown:
            return {}
        text, paths = self._redactor.redact_text(msgspec.json.encode(unknown).decode())
        if not paths:
            return {}
        clean = decode_fields(text)
        gone = {name: None for name in unknown if name not in clean}  # a name may be a secret
        return gone | {name: raw for name, raw in clean.items() if raw != unknown.get(name)}
