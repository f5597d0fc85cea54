"""Which index is about what a segment holds, and what is said of a segment that is odd."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from megabot_cli.recording.segment_index import decode_index, encode_index
from megabot_cli.storage import index_finding
from megabot_cli.storage.index_finding import build_index, find_index, is_ours, refresh_index
from megabot_cli.storage.line_search import LineSearch
from megabot_cli.storage.line_source import first_line_of, open_source
from tests.storage.indexed import messages, sealed_bytes


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "000001.jsonl"
    path.write_bytes(sealed_bytes(messages(10)))
    refresh_index(path, 0)
    return path


def is_found(segment: Path) -> bool:
    with open_source(segment) as file:
        first = first_line_of(file)
        assert first is not None
        return find_index(segment, file, first.size) is not None


@pytest.mark.parametrize(
    "fields", [{"bytes": 7}, {"sha256": "0" * 64}, {"modified_ns": 7}], ids="-".join
)
def test_an_index_is_about_one_segment(segment: Path, fields: dict[str, object]) -> None:
    assert is_found(segment)
    path = segment.with_suffix(".index")
    index = msgspec.structs.replace(decode_index(path.read_bytes()), blocks=[])
    path.write_bytes(encode_index(index))
    assert is_found(segment)
    path.write_bytes(encode_index(msgspec.structs.replace(index, **fields)))
    assert not is_found(segment)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content[:-1],
        lambda content: content.replace(b"type_0", b"type_00", 1),
        lambda content: content.replace(b'"bytes":', b'"bytes":1', 1),
    ],
    ids=["torn end", "longer", "another place"],
)
def test_what_does_not_end_where_it_says_is_not_sealed(
    segment: Path, edit: Callable[[bytes], bytes]
) -> None:
    facts, content = segment.stat(), segment.read_bytes()
    segment.write_bytes(edit(content))
    os.utime(segment, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert not is_found(segment)
    assert build_index(segment) is None


@pytest.mark.parametrize(
    ("mode", "ours"), [(0o700, True), (0o500, True), (0o710, False), (0o701, False), (0o704, False)]
)
def test_a_folder_is_ours_that_nobody_else_may_enter(
    tmp_path: Path, mode: int, *, ours: bool
) -> None:
    tmp_path.chmod(mode)
    assert is_ours(tmp_path) is ours
    tmp_path.chmod(0o700)
    assert not is_ours(tmp_path / "nowhere")


def test_a_folder_of_somebody_else_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert not is_ours(tmp_path)


def test_a_line_that_is_no_record_is_odd_and_the_end_is_none(tmp_path: Path) -> None:
    path = tmp_path / "000001.jsonl"
    path.write_bytes(sealed_bytes([*messages(3), b"no record\n"]))
    index = build_index(path)
    assert index is not None
    assert [(block.records, block.odd) for block in index.blocks] == [(3, 1)]


def test_from_a_length_on_a_segment_has_an_index(segment: Path) -> None:
    path, size = segment.with_suffix(".index"), segment.stat().st_size
    refresh_index(segment, size + 1)
    assert not path.exists()
    refresh_index(segment, size)
    assert path.exists()
    refresh_index(segment.with_name("000007.jsonl"), 0)  # there is none


def test_of_a_segment_with_a_line_longer_than_any_record_nothing_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_finding, "LineSearch", partial(LineSearch, most_bytes=1000))
    path = tmp_path / "000001.jsonl"
    path.write_bytes(sealed_bytes([*messages(3), b"x" * 300_000 + b"\n", *messages(3)]))
    index = build_index(path)
    assert index is not None
    assert (index.blocks, index.bytes) == ([], path.stat().st_size - len(last_line_of(path)))


@pytest.mark.parametrize("most_bytes", [20, 40])
def test_a_segment_whose_first_line_has_no_end_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr(
        index_finding, "first_line_of", partial(first_line_of, most_bytes=most_bytes)
    )
    path = tmp_path / "000001.jsonl"
    path.write_bytes(sealed_bytes(messages(3)))
    assert build_index(path) is None


def last_line_of(path: Path) -> bytes:
    return path.read_bytes().splitlines(keepends=True)[-1]
