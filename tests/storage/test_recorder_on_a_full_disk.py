from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.verification import verify
from tests.storage.conftest import read
from tests.support.disks import fill, small_disk

TEXT = b'{"type":"notification"}' + b" " * 1000
# So much room that something is written; of the second kind no third file.
LITTLE_ROOM = "size=1m"
FEW_FILES = "size=9m,nr_inodes=4"


@pytest.fixture(params=[LITTLE_ROOM, FEW_FILES])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", request.param) as folder:
        yield folder


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("segment_bytes", [200_000, 256 * 1024 * 1024])
def test_a_recording_that_the_disk_ended_says_when_and_how_much_is_missing(
    disk: Path, *, apart: bool, segment_bytes: int
) -> None:
    recorder = Recorder(
        disk / "rec",
        RecordingSettings(segment_bytes=segment_bytes),
        tool="megabot 9",
        upstream="ws://h/ws",
        apart=apart,
    )
    recorder.start()
    put = 0
    while recorder.flush(30):
        for _ in range(700):
            recorder.keep_message("to_client", TEXT, None, "link_1", "sess_1")
        put += 700
    assert recorder.disk_full
    for _ in range(10):  # it is over, but these are counted too
        recorder.keep_message("to_client", TEXT, None, "link_1", "sess_1")
    put += 10
    folder = recorder.close()
    assert folder is not None
    found = verify(folder)
    assert found.clean, found.problems
    *messages, fault, gap = read(folder)
    assert [each.kind for each in (fault, gap)] == ["fault", "gap"]
    assert "No space left" in (fault.note or "")
    assert {each.kind for each in messages} == {"message"}
    assert len(messages) + (gap.lost or 0) == put
    assert messages[-1].t <= fault.t <= gap.t


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("is_freed", [False, True])
def test_where_nothing_more_can_be_said_it_is_unclean_and_else_it_is_sealed(
    tmp_path: Path, *, apart: bool, is_freed: bool
) -> None:
    with small_disk(tmp_path / "disk", LITTLE_ROOM) as disk:
        settings = RecordingSettings()
        recorder = Recorder(disk / "rec", settings, tool="t", upstream="ws://h/ws", apart=apart)
        recorder.start()
        filling = disk / "another's"
        with pytest.raises(OSError, match="No space left"):
            fill(filling)
        while recorder.flush(30):  # to the last byte of what the last page has room for
            recorder.keep_message("to_client", b"{}", None, "link_1", "sess_1")
        if is_freed:
            filling.unlink()
        folder = recorder.close()
        assert folder is not None
        found = verify(folder)
        assert found.clean is is_freed
        assert found.torn_bytes == found.holes == 0
        assert [record.kind for record in read(folder)].count("gap") == is_freed


@pytest.mark.parametrize("apart", [False, True])
def test_when_there_is_room_again_another_recording_begins_and_the_one_before_is_sealed(
    tmp_path: Path, *, apart: bool
) -> None:
    def keep(times: int) -> None:
        for _ in range(times):
            recorder.keep_message("to_client", TEXT, None, "link_1", "sess_1")

    with small_disk(tmp_path / "disk", LITTLE_ROOM) as disk:
        settings = RecordingSettings()
        recorder = Recorder(disk / "rec", settings, tool="t", upstream="ws://h/ws", apart=apart)
        recorder.start()
        put = 0
        filling = disk / "another's"
        with pytest.raises(OSError, match="No space left"):
            fill(filling)
        while recorder.flush(30):
            keep(10)
            put += 10
        first, fault = recorder.folder, recorder.fault
        with pytest.raises(BadConfiguration, match="No space left"):
            recorder.begin_again()
        assert [recorder.fault, *(disk / "rec").iterdir()] == [fault, first]
        keep(5)  # nobody has these, and the gap says so
        filling.unlink()
        recorder.begin_again()
        assert recorder.healthy
        keep(7)
        assert recorder.flush(30)
        assert (recorder.dropped, recorder.depth, recorder.records_written) == (0, 0, 7)
        second = recorder.close()
        assert second is not None
        assert second == recorder.folder != first
        assert verify(first).clean
        assert verify(second).clean
        *messages, told, gap = read(first)
        assert [told.kind, gap.kind] == ["fault", "gap"]
        assert len(messages) + (gap.lost or 0) == put + 5
        assert [record.n for record in read(second)] == list(range(1, 8))
