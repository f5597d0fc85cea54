"""A place in a compressed segment is found by its frames, whoever cut them."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.errors import BadData
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.bisection import sought
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.compressing import compress
from megabot_cli.storage.frames import frames_of
from megabot_cli.storage.line_source import open_source
from megabot_cli.storage.recording_reader import open_recording

SKIPPABLE = struct.pack("<II", 0x184D2A57, 5) + b"\x28\xb5\x2f\xfd!"
ENDLESS = struct.pack("<II", 0x184D2A50, 0xFFFFFFFF)


def segment(gaps: list[int]) -> bytes:
    lines = [encode_header(Header(recording="rec_1"))]
    t = 0
    for n, gap in enumerate(gaps, 1):
        t += gap
        lines.append(encode_record(Record(n=n, t=t, kind="mark", note="word " * (n % 7))))
    return b"".join(lines)


def packed(content: bytes, cuts: list[int], *, checksum: bool = True, skip: bool = False) -> bytes:
    """Frames that end wherever they end, some of whose headers do not tell their size."""
    edges = sorted({0, len(content), *(cut % len(content) for cut in cuts)})
    frames = []
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        compressor = zstandard.ZstdCompressor(
            write_checksum=checksum, write_content_size=number % 2 == 0
        )
        frames.append(compressor.compress(content[start:end]) + (SKIPPABLE if skip else b""))
    return b"".join(frames)


def read_through(path: Path, place: Place) -> list[int] | str:
    """The records at the place and behind it; where the header is lost, what is said then."""
    try:
        with open_recording(path) as reader:
            return [record.n for record in reader if place.reached_by(record)]
    except BadData as fault:
        return fault.message


def read_from(path: Path, place: Place) -> list[int] | str:
    """As `read_through`, by what `--from` does."""
    try:
        with open_recording(path) as reader:
            return [record.n for record, _ in choose(reader, Selection(begin=place))]
    except BadData as fault:
        return fault.message


PLACES = st.one_of(
    st.builds(Place, st.just("offset"), st.integers(0, 30_000)),
    st.builds(Place, st.just("number"), st.integers(0, 130)),
)


@given(
    gaps=st.lists(st.sampled_from([0, 0, 1, 5, 1000]), min_size=1, max_size=120),
    cuts=st.lists(st.integers(0, 1 << 30), max_size=40),
    checksum=st.booleans(),
    skip=st.booleans(),
    torn=st.integers(0, 200),
    behind=st.sampled_from(
        [b"", b"garbage", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18\xff\xff\xff\xff"]
    ),
    place=PLACES,
)
@settings(deadline=None, max_examples=80)
def test_any_place_is_found_in_any_frames(
    tmp_path_factory: pytest.TempPathFactory,
    gaps: list[int],
    cuts: list[int],
    checksum: bool,
    skip: bool,
    torn: int,
    behind: bytes,
    place: Place,
) -> None:
    path = tmp_path_factory.mktemp("frames") / "000001.jsonl.zst"
    content = packed(segment(gaps), cuts, checksum=checksum, skip=skip)
    path.write_bytes(content[: max(20, len(content) - torn)] + behind)
    assert read_from(path, place) == read_through(path, place)


@given(junk=st.binary(max_size=60), size=st.integers(0, 2**21 - 1), kind=st.integers(0, 3))
@settings(deadline=None)
def test_any_headers_are_walked_to_an_end(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, size: int, kind: int
) -> None:
    path = tmp_path_factory.mktemp("hostile") / "000001.jsonl.zst"
    frames = packed(segment([1] * 30), [400, 800])
    block = (size << 3 | kind << 1).to_bytes(3, "little")
    path.write_bytes(frames + b"\x28\xb5\x2f\xfd" + junk[:2] + block + junk)
    assert read_from(path, Place("number", 20)) == read_through(path, Place("number", 20))


def test_a_million_tiny_blocks_do_not_keep_the_walk(tmp_path: Path) -> None:
    path = tmp_path / "tiny.zst"
    path.write_bytes(packed(segment([1]), []) + b"\x28\xb5\x2f\xfd\x00\x58" + bytes(3_000_000))
    with path.open("rb") as file:
        assert len(frames_of(file.fileno(), 0)) == 2


@given(sizes=st.lists(st.sampled_from([0, 1, 255, 256, 257, 65_791, 65_792, 70_000]), max_size=8))
@settings(deadline=None)
def test_what_frames_say_that_they_hold_is_what_they_hold(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("sizes") / "sizes.zst"
    path.write_bytes(
        b"".join(
            zstandard.ZstdCompressor(write_content_size=number % 3 != 2).compress(b"x" * size)
            for number, size in enumerate(sizes)
        )
    )
    with path.open("rb") as file:
        found = [frame.content_bytes for frame in frames_of(file.fileno(), 0)]
    # Where it is not told it is not guessed; of nothing at all it may be told.
    assert [
        said in (None, size) and (said == size or number % 3 == 2)
        for number, (said, size) in enumerate(zip(found, sizes, strict=True))
    ] == [True] * len(sizes)


def test_a_file_in_one_frame_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "000001.jsonl.zst"
    path.write_bytes(zstandard.compress(segment([1] * 500)))
    with open_source(path) as file:
        assert sought(file, Place("number", 400)) is file
    assert read_from(path, Place("number", 400)) == list(range(400, 501))


def test_what_we_compress_is_begun_near_the_place(tmp_path: Path) -> None:
    path = tmp_path / "000001.jsonl"
    noise = random.Random(7)
    with path.open("wb") as plain:
        plain.write(encode_header(Header(recording="rec_1")))
        for n in range(1, 1201):
            note = noise.randbytes(8000).hex()
            plain.write(encode_record(Record(n=n, t=n, kind="mark", note=note)))
    path = compress(path)
    with open_source(path) as file:
        found = sought(file, Place("number", 1000))
        first = io.BufferedReader(found.raw).readline()  # type: ignore[attr-defined]
        assert found is not file
        assert first
        assert len(frames_of(file.raw._source.fileno(), 0)) == 6  # type: ignore[attr-defined]
    with open_recording(path) as reader:
        first_record, _ = next(iter(next(reader.segments()).search(begin=Place("number", 1000))))
    assert 700 < first_record.n < 1000
    assert read_from(path, Place("number", 1000)) == list(range(1000, 1201))


@pytest.mark.parametrize(
    ("place", "where"), [(None, "at byte {}; "), (Place("number", 150), "in its last line; ")]
)
def test_a_torn_last_line_of_a_packed_file_is_told(
    tmp_path: Path, place: Place | None, where: str
) -> None:
    path = tmp_path / "000001.jsonl.zst"
    content = segment([1000] * 160)[:-5]
    path.write_bytes(packed(content, [300, len(content) // 2]))
    with open_recording(path) as reader:
        assert [record.n for record, _ in reader.search(begin=place)][-1] == 159
        torn = f"torn {where}".format(content.rindex(b"\n") + 1)
        assert torn in reader.warnings[0]


@pytest.mark.parametrize("whole_header", [True, False])
def test_a_torn_last_line_in_a_pipe_is_told_by_its_byte(tmp_path: Path, whole_header: bool) -> None:
    path = tmp_path / "x.jsonl.gz"
    content = segment([1] * 9)[:-5]
    content = content if whole_header else content[content.index(b"\n") + 1 :]
    path.write_bytes(gzip.compress(content))
    last_newline = content.rindex(b"\n")
    torn = f"torn at byte {last_newline + 1}; "
    with open_recording(path) as reader:
        assert [record.n for record, _ in reader.search()][-1] == 8
        assert torn in reader.warnings[-1]
    with open_recording(path) as reader:
        assert (
            sum(len(list(block)) for part in reader.segments() for block in part.in_blocks()) == 8
        )
        assert torn in reader.warnings[-1]


def test_a_frame_that_ends_too_early_to_be_unpacked_is_not_told_as_an_empty_file(
    tmp_path: Path,
) -> None:
    whole = zstandard.compress(segment([1] * 500))
    path = tmp_path / "000001.jsonl.zst"
    path.write_bytes(whole[: len(whole) // 2])
    with open_recording(path) as reader:
        assert list(reader) == []
    assert reader.warnings[0].endswith("nothing could be unpacked, not even a header is in it")
