"""Sealed segments with an index of small blocks, so that a few records fill many."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from megabot_cli.recording.format_v1 import (
    BadLine,
    End,
    Header,
    decode_line,
    encode_end,
    encode_header,
    encode_record,
)
from megabot_cli.recording.record import Record
from megabot_cli.recording.segment_index import IndexBuilder, SegmentIndex
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.index_file import write_index
from megabot_cli.storage.index_finding import find_index
from megabot_cli.storage.line_source import first_line_of, open_source
from megabot_cli.storage.recording_reader import open_recording


def sealed_bytes(lines: Sequence[bytes], *, segment: int = 1, n: int = 10**6) -> bytes:
    """A header, the lines, and an `end` of that number."""
    header = encode_header(
        Header(recording="rec_1", segment=segment, started_at="2026-11-23T04:12:09Z")
    )
    content = header + b"".join(lines)
    kinds = [line.partition(b'"kind":"')[2].partition(b'"')[0].decode() for line in lines]
    end = End(
        n=n,
        t=10**12,
        records=len(lines),
        bytes=len(content),
        counts=dict(Counter(kinds)),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return content + encode_end(end)


def index_in_blocks(path: Path, content: bytes, block_bytes: int) -> None:
    """Put an index of such blocks beside the segment at `path`, which holds `content`."""
    first, *lines, last = content.splitlines(keepends=True)
    builder = IndexBuilder(len(first), block_bytes)
    for line in lines:
        try:
            record = decode_line(line[:-1])
        except BadLine:
            builder.add(len(line), (), odd=1)
            continue
        assert isinstance(record, Record)
        builder.add(len(line), [record])
    end = decode_line(last[:-1])
    assert isinstance(end, End)
    assert end.bytes is not None
    assert end.sha256 is not None
    index = builder.finish(bytes=end.bytes, sha256=end.sha256, modified_ns=path.stat().st_mtime_ns)
    write_index(path, index)


def messages(count: int, **fields: str) -> list[bytes]:
    """Lines of messages of the type `type_<n // 100>`, in sessions of a hundred."""
    return [
        encode_record(
            Record(
                n=n,
                t=n * 10,
                kind="message",
                direction="to_client",
                type=f"type_{n // 100}",
                session=f"session_{n // 100:06}",
                client="client_1",
                link="link_1",
                data="x" * 200,
                **fields,  # type: ignore[arg-type]
            )
        )
        for n in range(1, count + 1)
    ]


def index_of(segment: Path) -> SegmentIndex | None:
    with open_source(segment) as file:
        first = first_line_of(file)
        assert first is not None
        return find_index(segment, file, first.size)


def numbers(source: Path, wanted: Selection) -> list[int]:
    with open_recording(source) as reader:
        found = [record.n for record, _ in choose(reader, wanted)]
        assert reader.warnings == []
        return found
