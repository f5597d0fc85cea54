from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from megabot_cli.recording.record import Record
from megabot_cli.storage import har_reader
from megabot_cli.storage.verification import verify
from tests.storage.conftest import NewRecorder, marks, segment_bytes

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.fixture
def sealed(new_recorder: NewRecorder) -> Path:
    recorder = new_recorder()
    for number in range(10):
        recorder.put("message", data=f"message {number}")
    recorder.close()
    (path,) = recorder.folder.iterdir()
    return path


def test_a_sealed_recording_is_clean(sealed: Path) -> None:
    found = verify(sealed)
    assert found.clean
    assert (found.sha256_ok, found.counts_ok, found.secrets_found) == (True, True, None)
    assert (found.records, found.bytes, found.problems) == (10, 90, [])


def test_what_is_still_being_written_is_not_clean_though_all_that_was_read_is_sealed(
    sealed: Path,
) -> None:
    part = sealed.with_name("000001.jsonl.part")
    sealed.rename(part)
    with part.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = verify(part.parent)
        assert (found.sealed, found.live, found.clean) == (True, True, False)
    assert verify(part.parent).clean


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("message 3", "massage 3"), "sha256"),
        (lambda text: text.replace('"records":10', '"records":11'), "other records"),
        (lambda text: text.replace('"message":10', '"message":9'), "other records"),
        (lambda text: text + '{"n":12,"t":99999999,"kind":"mark"}\n', "other records"),
        (lambda text: "\n".join(text.split("\n")[:3] + text.split("\n")[4:]), "record 4 follows"),
        (lambda text: text.replace('"n":1,"t":', '"n":1,"t":9999999'), "time goes back"),
        (lambda text: text.replace('"n":4,', '"n":"4",'), "no record"),
        (lambda text: text[:-10], "torn"),
        (lambda text: "\n".join(text.split("\n")[:-2]) + "\n", "unclean"),
    ],
    ids=["text", "records", "counts", "after", "hole", "time", "bad line", "torn", "no end"],
)
def test_each_change_is_told(sealed: Path, change: Callable[[str], str], told: str) -> None:
    sealed.write_text(change(sealed.read_text()))
    found = verify(sealed)
    assert not found.clean
    assert any(told in problem for problem in found.problems), found.problems


def test_loss_that_the_recording_admits_is_told_but_is_not_unclean(
    new_recorder: NewRecorder,
) -> None:
    recorder = new_recorder(queue_records=10, flush_s=1, on_pressure="gap")
    for _ in range(20):
        recorder.put("message", data="x")
    recorder.close()
    found = verify(recorder.folder)
    assert found.clean
    assert found.lost == recorder.lost > 0


def test_a_recording_whose_first_segments_were_removed_has_no_hole(
    new_recorder: NewRecorder,
) -> None:
    recorder = new_recorder(segment_bytes=4096)
    for _ in range(4):
        recorder.put("message", data="x" * 4096)
        assert recorder.flush(10)
    recorder.close()
    (recorder.folder / "000001.jsonl").unlink()
    assert verify(recorder.folder).clean
    (recorder.folder / "000003.jsonl").unlink()
    assert verify(recorder.folder).holes > 0


def test_segments_of_two_recordings_in_one_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "000001.jsonl").write_bytes(segment_bytes(marks(1)))
    other = segment_bytes(marks(1, first=2)).replace(b'"rec_1"', b'"rec_2"')
    (tmp_path / "000002.jsonl").write_bytes(other)
    found = verify(tmp_path)
    assert not found.clean
    assert found.foreign_segments == 1
    assert any("another recording" in problem for problem in found.problems)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (Record(n=1, t=0, kind="message", data='{"payload":{"token":"x"}}'), "$.data"),
        (Record(n=1, t=0, kind="message", data='{"h":[["x-api-key","k"]]}'), "$.data"),
        (Record(n=1, t=0, kind="close", reason=JWT), "$.reason"),
        (Record(n=1, t=0, kind="open", session=JWT), "$.session"),
        (Record(n=1, t=0, kind="message", data_b64="dG9rZW49YWJjZGVm"), "$.data_b64"),
    ],
)
def test_a_secret_anywhere_in_a_recording_is_found(
    tmp_path: Path, record: Record, place: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(segment_bytes([record], upstream="ws://h/ws"))
    found = verify(path, secrets=True)
    assert found.secrets_found == 1
    assert f"record 1: a secret at {place}" in found.problems
    assert not any(JWT in problem for problem in found.problems)


def test_a_secret_in_the_header_is_found_and_an_operators_own_words_are_sought(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.jsonl"
    record = Record(n=1, t=0, kind="message", data='{"pin":"1","c":"XX-1"}')
    path.write_bytes(segment_bytes([record], upstream="ws://h/ws?token=abc"))
    assert verify(path, secrets=True).secrets_found == 1
    assert verify(path, secrets=True, keys=["pin"], patterns=["XX-1"]).secrets_found == 2


def test_what_cannot_be_read_at_all_is_still_described(tmp_path: Path) -> None:
    path = tmp_path / "000001.jsonl.part"
    path.write_bytes(b'{"format":"megabot-rec')
    found = verify(path)
    assert (found.clean, found.sealed, found.records, found.recording) == (False, False, 0, None)
    assert found.torn_bytes == 22


GOLDEN_HAR = Path(__file__).parents[1] / "golden" / "har" / "chromium_156.har"


def test_of_a_har_file_it_says_what_can_be_verified_and_what_cannot() -> None:
    found = verify(GOLDEN_HAR)
    assert (found.clean, found.form, found.messages) == (True, "har", 12)
    assert found.not_told == ["sequence", "counts", "sha256"]
    assert (found.sealed, found.sha256_ok, found.counts_ok) == (False, None, None)
    assert found.secrets_found is None


def test_bare_messages_are_verified_as_far_as_they_go(tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    hello = '{"id":"m1","type":"chat_send","payload":{"content":"hello"}}\n'
    bare.write_text(hello * 2)
    found = verify(bare, secrets=True)
    assert (found.clean, found.form, found.messages, found.secrets_found) == (True, "jsonl", 2, 0)
    bare.write_text(hello + "no message\n" + hello.replace("hello", JWT) + hello[:-9])
    found = verify(bare, secrets=True)
    assert (found.clean, found.messages, found.bad_lines, found.secrets_found) == (False, 2, 1, 1)
    assert found.torn_bytes > 0


@pytest.mark.parametrize("chunk_bytes", [64, 256 * 1024])
@pytest.mark.parametrize(
    "secret_place",
    [
        {"request": {"headers": [{"name": "Authorization", "value": "Bearer s3cr3t-value"}]}},
        {"request": {"headers": [{"name": "X-Api-Key", "value": "hunter2hunter2"}]}},
        {"request": {"cookies": [{"name": "sid", "value": "0123456789abcdef"}]}},
        {"response": {"headers": [{"name": "set-cookie", "value": "sid=0123456789; Path=/"}]}},
        {"request": {"url": "wss://a.example/ws?token=0123456789abcdef"}},
        {"request": {"postData": {"text": '{"username":"u","password":"hunter2"}'}}},
        {"response": {"content": {"text": "x" * 70_000 + f" {JWT}"}}},
        {"_note": JWT},
    ],
    ids=["bearer", "api key", "cookie", "set-cookie", "url", "login", "long body", "own field"],
)
def test_a_secret_beside_the_messages_of_a_har_file_is_found(
    secret_place: dict[str, object],
    chunk_bytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(har_reader, "_CHUNK_BYTES", chunk_bytes)
    message = {"type": "send", "time": 1700000000, "opcode": 1, "data": '{"type":"ping"}'}
    page = tmp_path / "page.har"
    for place, secrets in (({}, 0), (secret_place, 1)):
        entries = [place, {"_webSocketMessages": [message]}]
        page.write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}))
        found = verify(page, secrets=True)
        assert (found.secrets_found, found.messages) == (secrets, 1), found.problems


def test_a_secret_in_pieces_is_found_in_a_har_file(tmp_path: Path) -> None:
    def chunk(text: str, *, last: bool) -> dict[str, object]:
        payload = {"chunk": text, "is_complete": last, "sequence": 1}
        said = {"id": "m", "type": "chat_stream", "payload": payload}
        return {"type": "receive", "time": 1700000000, "opcode": 1, "data": json.dumps(said)}

    page = tmp_path / "page.har"
    messages = [chunk(JWT[:20], last=False), chunk(JWT[20:], last=True)]
    page.write_text(json.dumps({"log": {"entries": [{"_webSocketMessages": messages}]}}))
    assert verify(page, secrets=True).secrets_found


def test_objects_without_a_type_are_messages_to_it_as_to_all_else_and_it_says_so(
    tmp_path: Path,
) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"a":1}\n{"password":"hunter2hunter2"}\n')
    found = verify(bare, secrets=True)
    assert (found.form, found.clean, found.messages, found.secrets_found) == ("jsonl", True, 2, 1)
    assert found.problems[-1].endswith("none of its objects has a type; are they messages?")
    bare.write_text('{"a":1}\n{"type":"chat_send"}\n')
    assert verify(bare).problems == []
