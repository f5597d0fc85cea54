"""Halving a segment finds what reading it through would have found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.recording_reader import open_recording


def write(path: Path, gaps: list[int], bad: set[int]) -> list[Record]:
    """Records so many microseconds apart, with long payloads; some lines are no records."""
    records = []
    lines = [encode_header(Header(recording="rec_1"))]
    t = 0
    for n, gap in enumerate(gaps, 1):
        t += gap
        record = Record(n=n, t=t, kind="message", data="x" * (3000 + 977 * (n % 11)))
        if n in bad:
            lines.append(b"not a record " * 100 + b"\n")
        else:
            records.append(record)
            lines.append(encode_record(record))
    path.write_bytes(b"".join(lines))
    return records


@given(
    gaps=st.lists(st.sampled_from([0, 0, 1, 5, 1000]), min_size=1, max_size=120),
    bad=st.sets(st.integers(1, 120), max_size=30),
    place=st.one_of(
        st.builds(Place, st.just("offset"), st.integers(0, 30_000)),
        st.builds(Place, st.just("number"), st.integers(0, 130)),
    ),
)
@settings(deadline=None, max_examples=60)
def test_any_place_is_found_in_any_segment(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], bad: set[int], place: Place
) -> None:
    path = tmp_path_factory.mktemp("bisect") / "000001.jsonl"
    records = write(path, gaps, bad)
    with open_recording(path) as reader:
        found = [record.n for record, _ in choose(reader, Selection(begin=place))]
    assert found == [record.n for record in records if place.reached_by(record)]
