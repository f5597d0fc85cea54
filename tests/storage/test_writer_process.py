"""A recorder whose writing end is a process of its own: the same recording, whatever dies."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.storage import writer_process
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recording_writer import RecordingWriter
from megabot_cli.storage.told import Item
from megabot_cli.storage.verification import verify
from megabot_cli.storage.writer_process import Child, WriterProcess
from tests.storage.conftest import read
from tests.support.processes import wait_until

LIMIT_S = 20.0
NewRecorder = Callable[..., Recorder]


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[NewRecorder]:
    made = []

    def make(on_fault: Callable[[str], None] | None = None, **settings: Any) -> Recorder:
        recorder = Recorder(
            tmp_path,
            RecordingSettings(**settings),
            tool="megabot test",
            upstream="ws://127.0.0.1/ws",
            on_fault=on_fault,
            apart=True,
        )
        made.append(recorder)
        recorder.start()
        return recorder

    yield make
    for recorder in made:
        recorder.close()


def child_of(recorder: Recorder) -> int:
    writer = recorder._writer
    assert isinstance(writer, WriterProcess)
    assert writer._child is not None
    return writer._child.pid


def put(recorder: Recorder, number: int, **more: Any) -> None:
    data = f'{{"id":"m{number}","payload":{number}}}'.encode()
    recorder.put("message", direction="to_upstream", id=f"m{number}", data=data, **more)


def test_what_was_put_is_in_the_recording_redacted_and_sealed(apart: NewRecorder) -> None:
    recorder = apart()
    for number in range(5000):
        put(recorder, number)
    recorder.put("message", data=b'{"password":"hunter22"}')
    recorder.put("message", data=b"\x00\xff", opcode="binary")
    pid = child_of(recorder)
    folder = recorder.close()
    assert folder is not None
    records = read(folder)
    assert [record.id for record in records[:5000]] == [f"m{number}" for number in range(5000)]
    assert records[5000].redacted == ["$.password"]
    assert records[5001].payload() == b"\x00\xff"
    found = verify(folder, secrets=True)
    assert (found.clean, found.sealed, found.secrets_found) == (True, True, 0)
    assert recorder.records_written == 5002
    assert not Path(f"/proc/{pid}").exists()


def test_it_is_on_disk_soon_and_numbers_are_told(apart: NewRecorder) -> None:
    recorder = apart()
    put(recorder, 1)
    assert recorder.flush(LIMIT_S)
    assert (recorder.records_written, recorder.segments) == (1, 1)
    assert recorder.bytes_written > 50


def test_what_stands_in_the_folder_it_is_started_in_is_not_run(
    apart: NewRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "megabot_cli"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("import pathlib; pathlib.Path('was_run').touch()")
    monkeypatch.chdir(tmp_path)
    recorder = apart()
    put(recorder, 1)
    assert recorder.flush(LIMIT_S)
    assert not (tmp_path / "was_run").exists()


def test_ctrl_c_is_not_for_it_and_it_takes_turns_with_us_alone(apart: NewRecorder) -> None:
    pid = child_of(apart())
    assert os.getpgid(pid) == pid != os.getpgid(0)
    assert os.getsid(pid) == os.getsid(0)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    child = Child()
    header = msgspec.json.encode(Header(recording="rec_1"))
    settings = msgspec.json.encode(RecordingSettings())
    child.do("open", (str(tmp_path), header, settings, b"k" * 32, [], 0))
    yield child
    child.do("seal", ())
    child.finish()


def three_records() -> bytes:
    outer, data = ("message", "to_upstream", None, None, None, None), b'{"id":"m"}'
    return msgspec.msgpack.encode([(0, *outer, data), (1, *outer, [data, data])])


@pytest.mark.parametrize(("packs", "times"), [(1, 3), (8, 24), (9, 0), (40, 0)])
def test_a_little_is_written_giving_way_and_a_lot_is_not(
    child: Child, packs: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gave_way: list[int] = []
    monkeypatch.setattr(writer_process, "_give_way", lambda: gave_way.append(len(gave_way)))
    child.do("write", (three_records(),) * packs)
    assert len(gave_way) == times
    assert child.counters[0] == 3 * packs


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a niceness on Linux alone")
def test_who_has_time_lets_the_system_prefer_others_and_who_is_in_a_hurry_does_not(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[int] = []
    write_batch = RecordingWriter.write_batch

    def watched(writer: RecordingWriter, queue: deque[Item], most: int) -> tuple[int, int]:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return write_batch(writer, queue, most)

    monkeypatch.setattr(RecordingWriter, "write_batch", watched)
    for packs in (1, 9, 1):
        child.do("write", (three_records(),) * packs)
    assert [each for each, _ in groupby(seen)] == [min(ours + 10, 19), ours, min(ours + 10, 19)]


@pytest.mark.parametrize("packs", [1, 9])
def test_a_disk_that_refuses_is_told_whoever_writes(
    child: Child, packs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(RecordingWriter, "write_batch", refuse)
        with pytest.raises(OSError, match="No space left"):
            child.do("write", (three_records(),) * packs)
    child.do("write", (three_records(),))
    assert child.counters[0] == 3


def test_segments_turn_over(apart: NewRecorder) -> None:
    recorder = apart(segment_bytes=4096)
    for number in range(3000):
        put(recorder, number)
    folder = recorder.close()
    assert folder is not None
    assert recorder.segments > 3
    assert len(read(folder)) == 3000


def test_under_pressure_a_gap_says_how_much_is_missing(apart: NewRecorder) -> None:
    recorder = apart(queue_records=50, on_pressure="gap", flush_s=1.0)
    for number in range(5000):
        put(recorder, number)
    folder = recorder.close()
    assert folder is not None
    records = read(folder)
    lost = sum(record.lost or 0 for record in records if record.kind == "gap")
    assert lost == recorder.lost > 0
    assert lost + sum(record.kind == "message" for record in records) == 5000


def test_a_writer_that_is_killed_is_a_fault_that_is_told_once(apart: NewRecorder) -> None:
    faults: list[str] = []
    recorder = apart(on_fault=faults.append)
    put(recorder, 1)
    assert recorder.flush(LIMIT_S)
    os.kill(child_of(recorder), signal.SIGKILL)
    put(recorder, 2)
    wait_until(lambda: faults, "the fault", LIMIT_S)
    put(recorder, 3)
    recorder.close()
    assert len(faults) == 1
    assert "ended" in faults[0]
    assert not recorder.healthy
    assert recorder.lag_s == 0, "nothing waits any more"
    assert [record.id for record in read(recorder.folder)] == ["m1"]


def test_a_disk_that_is_full_is_a_fault_and_what_was_written_reads(apart: NewRecorder) -> None:
    faults: list[str] = []
    recorder = apart(on_fault=faults.append)
    put(recorder, 1)
    assert recorder.flush(LIMIT_S)
    resource.prlimit(child_of(recorder), resource.RLIMIT_FSIZE, (4096, 4096))
    for number in range(2, 2000):
        put(recorder, number)
    wait_until(lambda: faults, "the fault", LIMIT_S)
    recorder.close()
    assert "File too large" in faults[0]
    assert recorder.lag_s == 0, "nothing waits any more"
    assert not recorder.disk_full, "a limit of the process is no full disk"
    ids = [record.id for record in read(recorder.folder) if record.kind == "message"]
    assert ids == [f"m{number}" for number in range(1, len(ids) + 1)]


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    recorder = Recorder(
        tmp_path / "file", RecordingSettings(), tool="t", upstream="ws://h/ws", apart=True
    )
    with pytest.raises(BadConfiguration):
        recorder.start()


PARENT = """
import sys, time
from pathlib import Path
from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage.recorder import Recorder
folder, settings = Path(sys.argv[1]), RecordingSettings()
recorder = Recorder(folder, settings, tool="t", upstream="ws://h/ws", apart=True)
recorder.start()
for number in range(100):
    recorder.put("message", id=f"m{number}", data=b"{}")
assert recorder.flush(20)
print(recorder.folder, recorder._writer._child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_its_parent_dies_the_process_ends_and_the_recording_reads(
    tmp_path: Path, how: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        folder, pid = parent.stdout.readline().split()
        parent.send_signal(how)
        parent.wait(LIMIT_S)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the writer", LIMIT_S)
    with open_recording(Path(folder)) as reader:
        assert len(list(reader)) == 100
        assert not reader.clean


def test_the_clock_of_both_is_the_same(apart: NewRecorder) -> None:
    recorder = apart()
    began = time.monotonic()
    put(recorder, 1)
    folder = recorder.close()
    assert folder is not None
    (record,) = read(folder)
    assert 0 <= record.t <= (time.monotonic() - began + 5) * 1e6


def test_one_that_was_prepared_and_never_started_leaves_nothing(tmp_path: Path) -> None:
    recorder = Recorder(
        tmp_path / "recordings", RecordingSettings(), tool="t", upstream="ws://h/ws", apart=True
    )
    recorder.prepare()
    pid = child_of(recorder)
    assert recorder.close() is None
    assert not Path(f"/proc/{pid}").exists()
    assert list(tmp_path.iterdir()) == []


def test_records_are_dated_from_when_the_recording_began_not_from_when_its_process_was_ready(
    tmp_path: Path,
) -> None:
    recorder = Recorder(
        tmp_path / "recordings", RecordingSettings(), tool="t", upstream="ws://h/ws", apart=True
    )
    began = time.monotonic()
    recorder.start()
    passed_us = (time.monotonic() - began) * 1e6
    recorder.put("mark", note="now")
    folder = recorder.close()
    assert folder is not None
    (record,) = read(folder)
    assert record.t >= passed_us


def test_text_that_is_no_unicode_travels_with_a_mark_where_it_was_not(apart: NewRecorder) -> None:
    recorder = apart()
    recorder.put("mark", note="before")
    recorder.put("fault", note="no file \udce9 here")
    folder = recorder.close()
    assert folder is not None
    assert [record.note for record in read(folder)[:2]] == ["before", "no file ? here"]


@pytest.mark.parametrize("apart", [True, False])
def test_a_secret_that_is_in_use_is_not_written_nor_one_that_comes_in_use_later(
    tmp_path: Path, apart: bool
) -> None:
    known = KnownSecrets(["the-first-one"])
    recorder = Recorder(
        tmp_path, RecordingSettings(), tool="t", upstream="ws://h/ws", apart=apart, known=known
    )
    recorder.start()

    def say(secret: str) -> None:
        recorder.keep_message("to_client", f'{{"a":"{secret}!"}}'.encode(), None, "l", secret)
        recorder.put("close", reason=f"no more {secret}")

    say("the-first-one")
    say("then-second")
    assert recorder.flush(LIMIT_S)
    known.learn("a profile", ["then-second"])
    say("the-first-one")
    say("then-second")
    folder = recorder.close()
    assert folder is not None
    first, second = [], []
    for record in read(folder)[:8]:
        texts = f"{record.data} {record.session} {record.reason}"
        first.append("the-first-one" in texts)
        second.append("then-second" in texts)
    assert first == [False] * 8
    assert second == [False, False, True, True, False, False, False, False]


def test_secrets_in_use_stand_in_no_argument_and_no_variable_of_the_process(
    tmp_path: Path,
) -> None:
    recorder = Recorder(
        tmp_path,
        RecordingSettings(),
        tool="t",
        upstream="ws://h/ws",
        apart=True,
        known=KnownSecrets(["the-first-one"]),
    )
    recorder.start()
    process = Path(f"/proc/{child_of(recorder)}")
    said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    recorder.close()
    assert b"the-first-one" not in said
