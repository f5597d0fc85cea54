from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.errors import BadConfiguration
from megabot_cli.recording.format_v1 import Header, encode_record
from megabot_cli.recording.record import MessageLine, Record
from megabot_cli.recording.redaction import Redactor
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.recording_writer import RecordingWriter
from megabot_cli.storage.verification import verify
from tests.storage.conftest import NewRecorder, read

LIMIT_S = 20.0


def recorder_with(folder: Path, clock: Callable[[], int]) -> Recorder:
    return Recorder(folder, RecordingSettings(), tool="t", upstream="ws://h/ws", clock=clock)


def test_what_was_put_is_in_the_recording_as_it_travelled(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    text = '{ "id":"msg_1",\t"n": 12345678901234567890, "n":1.0e2, "é":"\\u00e9😀" }'
    recorder.put("open", client="client_1", session="sess_1")
    recorder.put(
        "message",
        direction="to_upstream",
        client="client_1",
        link="link_1",
        session="sess_1",
        user="ann",
        id="msg_1",
        type="chat_send",
        reply_to="msg_0",
        data=text.encode(),
    )
    recorder.put("message", direction="to_client", opcode="binary", data=b"\x00\xff")
    recorder.put("close", client="client_1", code=1000, reason="bye", by="client")
    recorder.put("mark", note="before the change")
    folder = recorder.close()

    opened, message, binary, closed, mark = read(folder or Path())
    assert (opened.n, opened.kind, opened.client, opened.session) == (
        1,
        "open",
        "client_1",
        "sess_1",
    )
    assert message.data == text
    assert message.size == len(text.encode())
    assert (message.id, message.type, message.reply_to, message.user) == (
        "msg_1",
        "chat_send",
        "msg_0",
        "ann",
    )
    assert (binary.opcode, binary.payload(), binary.size) == ("binary", b"\x00\xff", 2)
    assert (closed.code, closed.reason, closed.by) == (1000, "bye", "client")
    assert mark.note == "before the change"


def test_a_closed_recording_is_sealed_and_verifies(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    for number in range(1000):
        recorder.put("message", data=f'{{"number":{number}}}')
    folder = recorder.close()
    assert folder == recorder.folder
    assert [path.name for path in recorder.folder.iterdir()] == ["000001.jsonl"]
    found = verify(recorder.folder, secrets=True)
    assert found.clean, found.problems
    assert (found.records, found.secrets_found) == (1000, 0)
    assert recorder.records_written == 1000
    assert recorder.depth == 0


def test_files_and_folders_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        recorder = Recorder(
            tmp_path / "data" / "recordings", RecordingSettings(), tool="t", upstream="ws://h/ws"
        )
        recorder.start()
        live = [path.stat().st_mode & 0o777 for path in recorder.folder.iterdir()]
        recorder.close()
    finally:
        os.umask(before)
    sealed = [path.stat().st_mode & 0o777 for path in recorder.folder.iterdir()]
    assert live == sealed == [0o600]
    assert recorder.folder.stat().st_mode & 0o777 == 0o700
    assert recorder.folder.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(tmp_path / "file", RecordingSettings(), tool="t", upstream="ws://h/ws")
    with pytest.raises(BadConfiguration, match="Cannot record") as refused:
        recorder.start()
    assert "--record DIR or `recording.folder`" in (refused.value.hint or "")
    recorder.put("mark")
    assert recorder.dropped == 1
    assert recorder.close() is None


def test_a_record_is_on_disk_within_a_moment(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    recorder.put("mark", note="now")
    assert recorder.flush(LIMIT_S)
    assert [record.note for record in read(recorder.folder)] == ["now"]


def test_segments_rotate_by_size_and_number_on(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(segment_bytes=4096)
    for number in range(200):
        recorder.put("message", data="x" * 100 + str(number))
        if number % 20 == 0:
            assert recorder.flush(LIMIT_S)
    recorder.close()
    names = sorted(path.name for path in recorder.folder.iterdir())
    assert len(names) > 3
    assert names[:2] == ["000001.jsonl", "000002.jsonl"]
    found = verify(recorder.folder)
    assert found.clean, found.problems
    assert (found.records, found.segments) == (200, len(names))
    with open_recording(recorder.folder) as reader:
        headers = [segment.header for segment in reader.segments() if list(segment)]
    previous = [header.previous for header in headers if header is not None]
    assert previous == [None, *names[: len(previous) - 1]]
    assert len({header.started_at for header in headers if header is not None}) == 1


def test_segments_rotate_by_age_but_never_empty(tmp_path: Path) -> None:
    now = [0]
    recorder = Recorder(
        tmp_path,
        RecordingSettings(segment_age_s=60, flush_s=0.01),
        tool="t",
        upstream="ws://h/ws",
        clock=lambda: now[0],
    )
    recorder.start()
    for minute in range(3):
        now[0] = minute * 61_000_000_000
        recorder.put("mark", note=str(minute))
        assert recorder.flush(LIMIT_S)
    recorder.close()
    assert [record.note for record in read(recorder.folder)] == ["0", "1", "2"]
    assert recorder.segments == 3
    assert verify(recorder.folder).clean


def test_what_waited_while_a_segment_was_sealed_comes_after_its_end(tmp_path: Path) -> None:
    def message(at_ms: int) -> tuple[Any, ...]:
        return (at_ms * 1_000_000, "message", "to_client", None, None, None, None, b"x" * 5000)

    now = [0]
    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z")
    redactor = Redactor(b"x" * 32)
    settings = RecordingSettings(segment_bytes=4096)
    writer = RecordingWriter(tmp_path, header, settings, redactor, lambda: now[0])
    writer.open_segment()
    waiting = deque([message(1), message(2)])
    now[0] = 90_000_000  # a busy machine: it is long after they came
    writer.write_batch(waiting, 1)
    writer.keep_house()
    writer.write_batch(waiting, 1)
    writer.seal()
    writer.finish()
    assert writer.segments == 2
    found = verify(tmp_path)
    assert found.clean, found.problems
    assert [record.t for record in read(tmp_path)] == [1000, 2000]


def test_time_never_goes_back_in_a_recording(tmp_path: Path) -> None:
    readings = iter([10_000, 10_000, 5_000, 90_000, 80_000])
    last = [0]

    def clock() -> int:
        last[0] = next(readings, last[0])
        return last[0]

    recorder = recorder_with(tmp_path, clock)
    recorder.start()
    for _ in range(4):
        recorder.put("mark")
    recorder.close()
    times = [record.t for record in read(recorder.folder)]
    assert times == sorted(times)
    assert times[0] >= 0


def test_pressure_blocks_until_half_is_written(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_records=50, flush_s=1)
    for number in range(50):
        assert not recorder.must_wait
        recorder.put("mark", note=str(number))
    assert recorder.must_wait
    recorder.put("mark", note="50")  # a reader that was too late to stop loses nothing
    wait_until(lambda: not recorder.must_wait)
    recorder.close()
    assert [record.note for record in read(recorder.folder)] == [str(n) for n in range(51)]
    assert (recorder.blocks, recorder.lost, recorder.dropped) == (1, 0, 0)


def test_bytes_are_pressure_as_well(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_bytes=1000, flush_s=1)
    recorder.put("message", data="x" * 1000)
    assert recorder.blocks == 1
    wait_until(lambda: not recorder.must_wait)


def test_a_gap_says_how_much_was_dropped_and_where(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_records=50, flush_s=1, on_pressure="gap")
    total = 0
    for _ in range(3):
        while recorder.gaps == 0 or total % 100:
            recorder.put("message", data=f"{total:04}")
            total += 1
        assert recorder.flush(LIMIT_S)
        recorder.put("message", data=f"{total:04}")
        total += 1
    recorder.close()
    records = read(recorder.folder)
    seen = -1
    for record in records:
        if record.kind == "gap":
            assert record.lost_bytes == 4 * (record.lost or 0)
            seen += record.lost or 0
        else:
            seen += 1
            assert record.data == f"{seen:04}"
    assert seen == total - 1
    assert recorder.lost > 0
    found = verify(recorder.folder)
    assert found.clean, found.problems
    assert (found.lost, found.gaps) == (recorder.lost, recorder.gaps)
    assert not recorder.must_wait


def test_a_gap_at_the_very_end_is_written_too(new_recorder: NewRecorder) -> None:
    recorder = new_recorder(queue_records=10, flush_s=1, on_pressure="gap")
    for _ in range(30):
        recorder.put("message", data="x")
    recorder.close()
    last = read(recorder.folder)[-1]
    assert (last.kind, last.lost, last.lost_bytes) == ("gap", recorder.lost, recorder.lost)
    assert recorder.lost == 30 - recorder.records_written + 1


def test_an_odd_record_is_named_and_the_rest_is_kept(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    recorder.put("mark", note="before")
    recorder.put("message", data=["no", "text"])  # type: ignore[arg-type]
    recorder.put("close", code=object())  # type: ignore[arg-type]
    recorder.put("close", reason="half a pair \ud800")
    recorder.put("mark", note="after")
    recorder.close()
    before, *faults, after = read(recorder.folder)
    assert (before.note, after.note) == ("before", "after")
    assert [fault.kind for fault in faults] == ["fault"] * 3
    assert "'message' was lost" in (faults[0].note or "")
    assert verify(recorder.folder).clean


def test_text_that_is_not_utf_8_and_half_pairs_are_kept_byte_for_byte(
    new_recorder: NewRecorder,
) -> None:
    recorder = new_recorder()
    recorder.put("message", data=b"\xfe\xfd")
    recorder.put("message", data="half \ud800")
    recorder.close()
    first, second = read(recorder.folder)
    assert first.payload() == b"\xfe\xfd"
    assert second.payload() == "half \ud800".encode("utf-8", "surrogatepass")
    assert first.opcode is second.opcode is None


def test_a_payload_longer_than_a_line_may_be_leaves_its_size(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    recorder.put("message", data=b"\x01" * (10 * 1024 * 1024 + 1))
    recorder.close()
    (record,) = read(recorder.folder)
    assert (record.data, record.size) == (None, 10 * 1024 * 1024 + 1)
    assert "longer" in (record.note or "")


def test_no_secret_reaches_the_disk_by_any_field(tmp_path: Path) -> None:
    canary = "c4n4ry0123456789"
    jwt = f"eyJ{canary}.{canary}.{canary}"
    recorder = Recorder(
        tmp_path,
        RecordingSettings(redact_keys=["pin"], redact_patterns=["XX-[a-z0-9]+"]),
        tool="t",
        upstream=f"wss://u:{canary}@h/ws?token={canary}",
        labels={"note": f"Bearer {canary}"},
    )
    recorder.start()
    recorder.put("open", client=jwt, session=jwt, user=jwt, note=f"?token={canary}")
    recorder.put(
        "message",
        id=jwt,
        type=jwt,
        reply_to=jwt,
        data=f'{{"id":"{jwt}","payload":{{"pin":"{canary}","c":"XX-{canary}"}}}}',
    )
    recorder.put("message", opcode="binary", data=f"\x00Bearer {canary}".encode())
    recorder.put("close", reason=f"Authorization: Bearer {canary}", by=jwt, code=1008)
    recorder.close()
    written = b"".join(path.read_bytes() for path in recorder.folder.iterdir())
    assert canary.encode() not in written
    assert recorder.redactions > 0
    assert verify(recorder.folder, secrets=True).secrets_found == 0


@pytest.mark.parametrize("fsync", ["never", "interval", "always"])
def test_every_fsync_policy_writes_the_same(new_recorder: NewRecorder, fsync: str) -> None:
    recorder = new_recorder(fsync=fsync, fsync_interval_s=0.01)
    for number in range(5):
        recorder.put("mark", note=str(number))
        assert recorder.flush(LIMIT_S)
    recorder.close()
    assert verify(recorder.folder).clean


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("fsync", ["never", "interval"])
def test_a_recording_that_somebody_removed_is_not_healthy(
    tmp_path: Path, fsync: Literal["never", "interval"], apart: bool
) -> None:
    faults: list[str] = []
    recorder = Recorder(
        tmp_path,
        RecordingSettings(fsync=fsync),
        tool="t",
        upstream="ws://h/ws",
        on_fault=faults.append,
        apart=apart,
    )
    recorder.start()
    recorder.put("mark", note="before")
    assert recorder.flush(LIMIT_S)
    shutil.rmtree(recorder.folder)
    deadline = time.monotonic() + LIMIT_S
    while recorder.healthy and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(faults) == 1
    assert "has been removed" in faults[0]
    assert str(recorder.folder) in faults[0]
    recorder.put("mark", note="after")
    assert recorder.dropped == 1
    recorder.close()


def test_closing_twice_and_putting_afterwards_is_harmless(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    recorder.put("mark")
    assert recorder.close() == recorder.close() == recorder.folder
    recorder.put("mark")
    assert recorder.dropped == 1
    assert verify(recorder.folder).clean
    assert "recorder" not in {thread.name for thread in threading.enumerate()}


def test_the_age_of_the_oldest_record_that_waits_is_told(tmp_path: Path) -> None:
    ticks = count(0, 1_000_000_000)
    recorder = recorder_with(tmp_path, lambda: next(ticks))
    assert recorder.lag_s == 0.0
    recorder.start()
    recorder.close()
    assert recorder.lag_s == 0.0


def wait_until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(int(LIMIT_S / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it never became so")


NAMES = st.none() | st.text(max_size=8) | st.sampled_from(["client_1", "Bearer abcdefgh12345678"])


@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), names=NAMES)
def test_the_quick_way_to_a_line_writes_what_the_careful_one_does(
    data: bytes, names: str | None
) -> None:
    redactor = Redactor(b"k" * 32)
    header = Header(recording="rec_1")
    writer = RecordingWriter(Path(), header, RecordingSettings(), redactor, lambda: 0)
    outer = (5000, "message", "to_client", names, "link_1", names, None)
    quick = writer._plain(1, 5, outer, data)
    if isinstance(quick, MessageLine):
        careful = writer._record(1, 5, (*outer, data), None)
        assert encode_record(quick) == encode_record(careful)


def test_a_record_that_no_line_can_say_costs_the_others_nothing(tmp_path: Path) -> None:
    def message(client: str) -> tuple[Any, ...]:
        return (1000, "message", "to_client", client, "link_1", "sess_1", None, b"{}")

    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z")
    writer = RecordingWriter(tmp_path, header, RecordingSettings(), Redactor(b"x" * 32), lambda: 0)
    writer.open_segment()
    waiting = deque([message("client_1"), message("half \ud800"), message("client_2")])
    assert writer.write_batch(waiting, 3) == (3, 6)
    writer.seal()
    writer.finish()
    found = verify(tmp_path)
    assert found.clean, found.problems
    kinds = [(record.n, record.kind, record.client) for record in read(tmp_path)]
    assert kinds == [(1, "message", "client_1"), (2, "fault", None), (3, "message", "client_2")]


def test_a_message_line_has_the_fields_of_a_record_in_their_order() -> None:
    ours, theirs = MessageLine.__struct_fields__, Record.__struct_fields__
    assert ours == theirs[: len(ours)]


def test_the_end_counts_each_kind(tmp_path: Path) -> None:
    header = Header(recording="rec_1", started_at="2026-11-23T04:12:09Z")
    writer = RecordingWriter(tmp_path, header, RecordingSettings(), Redactor(b"x" * 32), lambda: 0)
    writer.open_segment()
    outer = ("to_client", None, "link_1", "sess_1", None)
    together: list[bytes] = [b'{"type":"a"}', b"token=abcdefgh12345678", b"\xff"]
    waiting: deque[Any] = deque(
        [
            (1000, "message", *outer, together),
            (1000, "inject", *outer, b"{}"),
            (1000, "message", *outer, []),
        ]
    )
    assert writer.write_batch(waiting, 9) == (4, 37)
    assert not waiting
    writer.seal()
    writer.finish()
    end = json.loads((tmp_path / "000001.jsonl").read_text().splitlines()[-1])
    assert end["counts"] == {"message": 3, "inject": 1}
    assert verify(tmp_path).clean


@pytest.mark.parametrize("apart", [False, True])
def test_messages_that_came_together_are_records_of_their_own_in_their_order(
    tmp_path: Path, apart: bool
) -> None:
    recorder = Recorder(tmp_path, RecordingSettings(), tool="t", upstream="ws://h/ws", apart=apart)
    recorder.start()
    recorder.put("open", client="client_1")
    texts = [f'{{"id":"m{number}","type":"chat_send"}}'.encode() for number in range(700)]
    for place in range(0, len(texts), 7):
        together = texts[place : place + 7]
        recorder.keep_messages("to_upstream", together, "link_1", "sess_1", "client_1", False)
    recorder.keep_messages("to_client", [b"\x00", b"\xff"], "link_1", None, None, True)
    assert recorder.depth + recorder.records_written >= len(texts)
    assert recorder.flush(LIMIT_S)
    assert (recorder.depth, recorder.depth_bytes) == (0, 0)
    records = read(recorder.close() or Path())[1:]
    assert [record.data for record in records[:-2]] == [text.decode() for text in texts]
    assert [record.payload() for record in records[-2:]] == [b"\x00", b"\xff"]
    assert {record.client for record in records[:-2]} == {"client_1"}
    assert recorder.records_written == len(texts) + 3


def test_records_of_a_link_carry_the_user_that_its_greeting_named(
    new_recorder: NewRecorder,
) -> None:
    recorder = new_recorder()

    def message(direction: str, text: str, link: str, kind: str = "message") -> None:
        data = text.encode()
        recorder.keep_message(direction, data, None, link, f"s_{link}", "client_1", False, kind)

    def greeting(**payload: str) -> str:
        return json.dumps({"id": "g", "type": "connection_established", "payload": payload})

    message("to_client", '{"id":"early"}', "link_1")
    message("to_client", greeting(session_id="s", user_id="ann"), "link_1")
    message("to_client", greeting(token="abc", user_id="bob"), "link_2")
    message("to_upstream", greeting(user_id="mallory"), "link_1")
    message("to_client", greeting(user_id="mallory"), "link_1", "inject")
    message("to_upstream", '{"id":"q","type":"chat_send"}', "link_1")
    message("to_upstream", '{"id":"q","metadata":{"user_id":"eve"}}', "link_1")
    message("to_upstream", '{"id":"q","payload":{"token":"abc"}}', "link_2")
    recorder.put("open", link="link_3", user="carl")
    recorder.put("open", link="link_3", client="client_2")
    recorder.put("close", link="link_2", code=1000)
    recorder.put("mark", note="nobody's")
    recorder.close()
    assert [record.user for record in read(recorder.folder)] == [
        None, "ann", "bob", "ann", "ann", "ann", "eve", "bob", "carl", "carl", "bob", None,
    ]  # fmt: skip
