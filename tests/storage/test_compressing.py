"""Sealed segments made small, and read as if they were not."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.record import Record
from megabot_cli.storage.compressing import LAST_FRAME_BYTES, UNFINISHED, compress
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recordings_list import describe_recording
from megabot_cli.storage.verification import verify

LINES = [
    encode_header(Header(recording="rec_1", started_at="2026-11-23T04:12:09.123456Z")),
    *(
        encode_record(Record(n=n, t=n, kind="message", type="chat_send", data=f"text {n} " * 9))
        for n in range(1, 30)
    ),
]


def numbers(path: Path) -> list[int]:
    with open_recording(path) as reader:
        return [record.n for record in reader]


def write(path: Path, *, lines: int = 30) -> Path:
    path.write_bytes(b"".join(LINES[:lines]))
    return path


def test_a_compressed_segment_reads_as_before_and_the_plain_one_is_gone(tmp_path: Path) -> None:
    plain = write(tmp_path / "000001.jsonl")
    plain.chmod(0o600)
    before = plain.read_bytes()
    small = compress(plain)
    assert small.name == "000001.jsonl.zst"
    assert [path.name for path in tmp_path.iterdir()] == [small.name]
    assert small.stat().st_mode & 0o777 == 0o600
    with small.open("rb") as file:
        unpacked = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        assert unpacked.read() == before
    assert numbers(small) == numbers(tmp_path) == list(range(1, 30))


def test_a_disk_that_refuses_leaves_the_plain_segment(tmp_path: Path) -> None:
    plain = write(tmp_path / "000001.jsonl")
    (tmp_path / f"000001.jsonl{UNFINISHED}").mkdir()
    with pytest.raises(OSError, match="directory"):
        compress(plain)
    assert numbers(plain) == list(range(1, 30))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@given(data=st.data())
def test_cut_at_any_byte_it_reads_as_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    plain = write(folder / "000001.jsonl")
    packed = {
        ".gz": lambda: gzip.compress(plain.read_bytes()),
        ".zst": lambda: compress(plain).read_bytes(),
    }
    content = packed[ending]()
    path = folder / f"torn{ending}"
    path.write_bytes(content[: data.draw(st.integers(20, len(content)))])
    found = numbers(path)
    assert found == list(range(1, len(found) + 1))


def test_a_recorder_compresses_what_it_seals(tmp_path: Path) -> None:
    settings = RecordingSettings(compress="zstd", segment_bytes=20_000, flush_s=0.02)
    recorder = Recorder(tmp_path, settings, tool="t", upstream="ws://u")
    recorder.start()
    for number in range(400):
        recorder.put("mark", note=f"{number} " * 20)
        if number % 100 == 0:
            assert recorder.flush(10)
    folder = recorder.close()
    assert folder is not None
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) > 1
    assert all(name.endswith(".jsonl.zst") for name in names)
    with open_recording(folder) as reader:
        assert [record.note for record in reader] == [f"{n} " * 20 for n in range(400)]
    assert verify(folder).clean
    assert describe_recording(folder).records == 400


def test_a_list_reads_only_the_end_of_a_compressed_recording(tmp_path: Path) -> None:
    path = tmp_path / "000001.jsonl"
    with path.open("wb") as file:
        file.write(LINES[0])
        for n in range(1, 4000):
            file.write(encode_record(Record(n=n, t=n, kind="message", data=f"{n:x}" * 50)))
    assert path.stat().st_size > 10 * LAST_FRAME_BYTES
    small = compress(path)
    began = time.perf_counter()
    assert describe_recording(small).records == 3999
    assert time.perf_counter() - began < 5


def test_what_is_no_zstd_at_all_is_told_in_clear_words(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"nonsense" * 10)
    with open_recording(path) as reader:
        assert list(reader) == []
        assert reader.warnings
