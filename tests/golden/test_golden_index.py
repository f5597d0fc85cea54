"""An index made by an earlier megabot. It is never rewritten: an old one is always of use."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from megabot_cli.recording.segment_index import decode_index
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.verification import verify

INDEX_1_0 = Path(__file__).parent / "index_1_0"

SHA256 = {
    "000001.index": "dd94766267297e6e7c973b4f6da5acc5661c6f123ca4a7321f7cade0d0ac2a6b",
    "000001.jsonl": "fdcc768a609daec47c49c8619594593cda23e0a9e281ff948378b611662c9c84",
}


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A copy with the times it had, of which the index knows."""
    path = tmp_path / "000001.jsonl"
    for name in SHA256:
        shutil.copy(INDEX_1_0 / name, tmp_path / name)
    index = decode_index((tmp_path / "000001.index").read_bytes())
    os.utime(path, ns=(index.modified_ns, index.modified_ns))
    return path


@pytest.mark.parametrize("name", SHA256)
def test_a_golden_file_is_as_it_was(name: str) -> None:
    assert hashlib.sha256((INDEX_1_0 / name).read_bytes()).hexdigest() == SHA256[name]


def test_what_it_says_is_true(segment: Path) -> None:
    found = verify(segment, secrets=True)
    assert (found.clean, found.index_ok, found.secrets_found) == (True, True, 0)


def test_what_it_passes_over_is_not_read(segment: Path) -> None:
    facts, content = segment.stat(), segment.read_bytes()
    segment.write_bytes(content.replace(b'{"n":20,', b'!"n":20,').replace(b'{"n":60,', b'!"n":60,'))
    os.utime(segment, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with open_recording(segment) as reader:
        found = [record.n for record, _ in choose(reader, Selection(sessions=("session_2",)))]
        assert (found, reader.warnings) == (list(range(31, 46)), [])
