"""What is left when the writer is killed, or the disk is full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from megabot_cli.storage.recording_folder import unclean_end
from megabot_cli.storage.verification import verify
from tests.storage.conftest import NewRecorder, marks, read, segment_bytes

# Records as quickly as a busy relay, saying after each what it has put.
WRITES_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), RecordingSettings(), tool="t", upstream="ws://h/ws")
recorder.start()
number = 0
while True:
    for _ in range(5):
        number += 1
        recorder.put("message", data='{"number":%d,"text":"%s"}' % (number, "x" * 200))
    print(number, time.monotonic(), flush=True)
    time.sleep(0.001)
"""

# A file-size limit makes the kernel refuse writes as a full disk does: some bytes fit, the
# next write is an error. Lifting it is the room that an operator makes.
FILLS_THE_DISK = """
import json, resource, sys
from pathlib import Path
from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage.recorder import Recorder
faults = []
recorder = Recorder(
    Path(sys.argv[1]), RecordingSettings(), tool="t", upstream="ws://h/ws", on_fault=faults.append
)
recorder.start()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
put = 0
while recorder.healthy:
    recorder.put("message", data="x" * 250)
    put += 1
    if put % 50 == 0:
        recorder.flush(5)
for _ in range(100):
    recorder.put("message", data="x" * 250)
    put += 1
room = resource.RLIM_INFINITY if sys.argv[2] == "room again" else 0
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
recorder.close()
print(json.dumps([put, recorder.records_written, recorder.dropped, recorder.must_wait, faults]))
"""


def kill_while_it_writes(folder: Path) -> int:
    """Return the number of the last record that was put more than 200 ms before the kill."""
    command = [sys.executable, "-c", WRITES_UNTIL_KILLED, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = []
        for line in writer.stdout:
            said.append(line.split())
            if float(said[-1][1]) - float(said[0][1]) > 0.5:
                break
        killed_at = time.monotonic()
        os.kill(writer.pid, signal.SIGKILL)
    times = [float(at) for _, at in said]
    # Where this machine kept the program itself waiting, its writing thread waited as well.
    stalled_s = max(later - at for at, later in pairwise(times))
    before = killed_at - 0.2 - stalled_s
    return max(int(number) for number, at in said if float(at) < before)


# Often, where somebody asks for it; each takes a second.
@pytest.mark.alone
@pytest.mark.parametrize("attempt", range(int(os.environ.get("MEGABOT_KILLS", "3"))))
def test_kill_9_loses_nothing_older_than_200_ms(tmp_path: Path, attempt: int) -> None:
    must_be_there = kill_while_it_writes(tmp_path)
    (folder,) = tmp_path.iterdir()
    records = read(folder)
    assert [record.n for record in records] == list(range(1, len(records) + 1))
    assert len(records) >= must_be_there > 0
    found = verify(folder)
    assert not found.clean
    assert not found.sealed
    assert not found.live
    assert (found.holes, found.bad_lines, found.records) == (0, 0, len(records))


def test_after_a_crash_a_new_recording_names_the_torn_one_and_leaves_it_alone(
    tmp_path: Path, new_recorder: NewRecorder
) -> None:
    kill_while_it_writes(tmp_path)
    (torn,) = tmp_path.iterdir()
    before = {path.name: path.read_bytes() for path in torn.iterdir()}
    recorder = new_recorder()
    assert recorder.previous == f"{torn.name}/000001.jsonl.part"
    recorder.close()
    assert {path.name: path.read_bytes() for path in torn.iterdir()} == before
    assert unclean_end(tmp_path) is None  # said once, by the next


def test_a_torn_recording_is_named_once_also_where_newer_ones_were_sealed(
    tmp_path: Path, new_recorder: NewRecorder
) -> None:
    def left(name: str, file: str, previous: str | None = None) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(segment_bytes(marks(2), previous=previous))
        return f"{name}/{file}"

    older = left("rec_1", "000001.jsonl.part")
    newer = left("rec_2", "000001.jsonl.part")
    left("rec_3", "000001.jsonl")  # a dump, or another relay that ended well
    assert unclean_end(tmp_path) == newer
    left("rec_4", "000001.jsonl", previous=newer)
    left("rec_5", "000001.jsonl")
    assert unclean_end(tmp_path) == older
    recorder = new_recorder()
    assert recorder.previous == older
    recorder.close()
    assert unclean_end(tmp_path) is None


def test_a_recording_that_somebody_is_writing_is_no_crash(new_recorder: NewRecorder) -> None:
    first = new_recorder()
    second = new_recorder()
    assert (first.previous, second.previous) == (None, None)
    assert verify(first.folder).live


def fill_the_disk(folder: Path, then: str) -> list[object]:
    command = [sys.executable, "-c", FILLS_THE_DISK, str(folder), then]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    said: list[object] = json.loads(done.stdout)
    return said


def test_a_full_disk_stops_the_recording_and_leaves_whole_lines(tmp_path: Path) -> None:
    put, written, dropped, must_wait, faults = fill_the_disk(tmp_path, "still full")
    assert isinstance(faults, list)
    assert len(faults) == 1
    assert "cannot be written" in faults[0]
    assert must_wait is False
    (folder,) = tmp_path.iterdir()
    records = read(folder)
    found = verify(folder)
    assert not found.sealed
    assert (found.torn_bytes, found.bad_lines, found.holes) == (0, 0, 0)
    assert len(records) == written
    assert put == len(records) + int(str(dropped))


def test_a_disk_with_room_again_gets_a_gap_that_counts_what_is_missing(tmp_path: Path) -> None:
    put, _, dropped, _, _ = fill_the_disk(tmp_path, "room again")
    (folder,) = tmp_path.iterdir()
    *messages, fault, gap = read(folder)
    assert (fault.kind, gap.kind, gap.lost) == ("fault", "gap", dropped)
    assert put == len(messages) + int(str(dropped))
    found = verify(folder)
    assert found.clean, found.problems
