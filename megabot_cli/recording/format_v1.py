"""The lines of `megabot-recording` version 1: header, records, end. Bytes in, values out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from megabot_cli.errors import BadData
from megabot_cli.recording.record import LATEST_S, Count, MessageLine, Number, Offset, Record

FORMAT: Final = "megabot-recording"
MAJOR: Final = 1
VERSION: Final = "1.0"

# A message of the default limit (1 MiB) may grow sixfold when every character of it is
# escaped. A longer line is never decoded: a recording is untrusted input.
MAX_LINE_BYTES: Final = 64 * 1024 * 1024

# What is left of a line that long once every character of its payload takes six bytes.
MAX_PAYLOAD_BYTES: Final = 10 * 1024 * 1024


class Header(msgspec.Struct, kw_only=True):
    """Line 1 of every segment.

    `previous` names the segment before this one: `000001.jsonl` of the same recording, or,
    after a crash, the torn one that another recording ended with (`rec_…/000003.jsonl.part`).
    All segments of a recording carry its one `started_at`, so `t` goes on across them.
    """

    format: str = FORMAT
    version: str = VERSION
    recording: str
    segment: int = 1
    previous: str | None = None
    started_at: str = ""
    clock: str = "monotonic"
    tool: str = ""
    upstream: str = ""
    redaction: str = ""
    labels: dict[str, str] = {}


class _Head(msgspec.Struct):
    """What every major version's header has."""

    format: str = FORMAT
    version: str = VERSION


class End(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The last line of a sealed segment.

    `records` are those of this segment without this one; `bytes` and `sha256` are of all
    that stands before this line.
    """

    n: Number
    t: Offset
    kind: str = "end"
    records: Count | None = None
    bytes: Count | None = None
    first_t: Offset | None = None
    last_t: Offset | None = None
    counts: dict[str, Count] | None = None
    redactions: Count | None = None
    sha256: str | None = None


_encoder = msgspec.json.Encoder()
_header_decoder = msgspec.json.Decoder(Header)
_head_decoder = msgspec.json.Decoder(_Head)
_record_decoder = msgspec.json.Decoder(Record)
_end_decoder = msgspec.json.Decoder(End)
_LATEST_YEAR = datetime.fromtimestamp(LATEST_S, UTC).year
_RECORD_STARTS = re.compile(rb'\s*\{\s*"n"\s*:\s*\d+\s*,\s*"t"\s*:\s*\d+\s*,\s*"kind"\s*:\s*"')
_version = re.compile(r"(\d{1,6})\.(\d{1,6})\Z")


class NoHeader(BadData):
    """The first line of a file is no header that anybody wrote; records may follow it."""


class BadLine(ValueError):
    """A line that is no record; the text says why."""


def encode_header(header: Header) -> bytes:
    return _encoder.encode(header) + b"\n"


def encode_record(record: Record | MessageLine) -> bytes:
    return _encoder.encode(record) + b"\n"


def encode_records(records: Sequence[Record | MessageLine]) -> bytes:
    """Their lines one after another: for many, at half the cost."""
    return _encoder.encode_lines(records)


def encode_end(end: End) -> bytes:
    """`kind` stands third and is written although it is the default: filters look for it."""
    fields: dict[str, Any] = {"n": end.n, "t": end.t, "kind": end.kind}
    fields.update(msgspec.to_builtins(end))
    return _encoder.encode(fields) + b"\n"


def decode_header(line: bytes) -> Header:
    """Read line 1. NoHeader when it is none, BadData when its major version is newer than ours.

    A date with which nobody can reckon is as good as none: `started_at` is empty then.
    """
    try:
        head = _head_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _no_recording() from None
    version = _version.match(head.version)
    if head.format != FORMAT or version is None:
        raise _no_recording()
    if int(version[1]) > MAJOR:
        raise BadData(
            f"The recording has format version {head.version}; this megabot reads {VERSION}.",
            f"Install a newer megabot, one that reads version {version[1]} recordings.",
        )
    try:
        header = _header_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _no_recording() from None
    if not _can_be_reckoned_with(header.started_at):
        header.started_at = ""
    return header


def _can_be_reckoned_with(stamp: str) -> bool:
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return True  # it is no date, and who wants one says so
    return 1970 <= at.year < _LATEST_YEAR


def _no_recording() -> NoHeader:
    return NoHeader(
        f"The first line is not the header of a {FORMAT}.",
        "`megabot recordings list` shows the recordings there are.",
    )


def decode_line(line: bytes) -> Record | End:
    """Read any line but the first. BadLine when it is not a record.

    Kinds and keys that a later minor version added pass; keys are not kept in the value, so
    who rewrites a recording copies the line.
    """
    try:
        record = _record_decoder.decode(line)
        if record.kind == "end":
            return _end_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise BadLine(str(fault)) from None
    return record


def starts_as_record(line: bytes) -> bool:
    """Whether a line begins as all that we write but headers: two lines of bare messages that
    somebody else wrote do not."""
    return _RECORD_STARTS.match(line) is not None


def decode_block(lines: bytes) -> list[Record] | None:
    """Read the records of whole lines, in two thirds of the time of `decode_line`.

    None where one of the lines is anything else (the end, a bad line): they are to be read one
    by one.
    """
    # To the decoder an object over two lines is one, two on a line are two and an empty line is
    # none. Within a value no `{` follows a `}`: where it does at the end of every line, values
    # end there.
    count = lines.count(b"}\n{") + 1
    if count != lines.count(b"\n") or not lines.startswith(b"{") or not lines.endswith(b"}\n"):
        return None
    try:
        records = _record_decoder.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(records) != count:
        return None
    for record in records:
        if record.kind == "end":
            return None
    return records


def glance(fields: Collection[str], matches: Callable[[Record], bool]) -> Callable[[bytes], bool]:
    """How to look at a line for these fields of its record alone, in a third of the time.

    Only a line that is no may be passed over. A record is one of which `matches` is true, who
    may ask for nothing but `fields`. Anything else (the end, a bad line) is for `decode_line` to
    judge; what is bad in other fields is not seen.
    """
    part = msgspec.defstruct(
        "Part",
        [
            (field.name, field.type) if field.required else (field.name, field.type, field.default)
            for field in msgspec.structs.fields(Record)
            if field.required or field.name in fields
        ],
        gc=False,
    )
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(part).decode

    def is_wanted(line: bytes) -> bool:
        try:
            record = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return True
        return matches(record) or record.kind == "end"

    return is_wanted
