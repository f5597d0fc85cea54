from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage.recorder import Recorder
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.verification import verify
from tests.storage.conftest import LIMIT_S, NewRecorder, read, recorder_with


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


def test_what_is_written_within_a_time_is_not_waited_for_as_long(tmp_path: Path) -> None:
    waits: list[float] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waits.append(timeout)
            return super().wait(0.001)

    recorder = recorder_with(tmp_path, lambda: 0)
    recorder._wake = Watched()
    recorder.start()
    recorder.put("mark", note="one")
    assert recorder.flush(LIMIT_S)
    recorder.close()
    assert RecordingSettings().flush_s == 0.1
    assert max(waits) == pytest.approx(0.08)
