"""A recording that is read while its writer seals, packs and removes segments."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from megabot_cli.errors import BadData
from megabot_cli.storage.recording_reader import open_recording

SEALED = Path(__file__).parents[1] / "golden" / "recording_1_0" / "sealed"


@pytest.fixture
def live(tmp_path: Path) -> Path:
    folder = tmp_path / "live"
    shutil.copytree(SEALED, folder)
    (folder / "000003.jsonl").rename(folder / "000003.jsonl.part")
    return folder


def test_what_is_sealed_or_packed_meanwhile_is_read_all_the_same(live: Path) -> None:
    with open_recording(SEALED) as reader:
        whole = list(reader)
    with open_recording(live) as reader:
        records = iter(reader)
        read = [next(records)]
        second = live / "000002.jsonl"
        (live / "000002.jsonl.gz").write_bytes(gzip.compress(second.read_bytes()))
        second.unlink()
        (live / "000003.jsonl.part").rename(live / "000003.jsonl")
        read += records
        assert (reader.clean, reader.warnings) == (True, [])
    assert read == whole


def test_what_is_removed_meanwhile_is_told(live: Path) -> None:
    with open_recording(live) as reader:
        records = iter(reader)
        first = next(records)
        (live / "000002.jsonl").unlink()
        read = [first, *records]
        assert reader.warnings == ["000002.jsonl: removed while the recording was read"]
        assert not reader.clean
    assert read[-1].n > 20
    with open_recording(SEALED, strict=True) as whole, open_recording(live, strict=True) as reader:
        assert len(read) < len(list(whole))
        (live / "000003.jsonl.part").unlink()
        with pytest.raises(BadData, match="removed while"):
            list(reader)
