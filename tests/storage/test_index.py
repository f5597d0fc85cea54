"""The index beside a sealed segment: used, belonging to it, and harmless when it is wrong."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.recording.segment_index import SegmentIndex, decode_index, encode_index
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.compressing import compress
from megabot_cli.storage.index_finding import build_index, refresh_index
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.verification import verify
from tests.storage.conftest import NewRecorder
from tests.storage.indexed import index_in_blocks, index_of, messages, numbers, sealed_bytes

_ONE_TYPE = Selection(types=("type_7",))


def change(segment: Path, **fields: object) -> None:
    """Change the index beside a segment."""
    path = segment.with_suffix(".index")
    path.write_bytes(msgspec.json.encode({**json.loads(path.read_bytes()), **fields}))


def spoil(segment: Path, n: int) -> None:
    """Make the line of a record unreadable, in the same length and as if nobody had."""
    facts, content = segment.stat(), segment.read_bytes()
    at = content.index(b'{"n":%d,' % n)
    segment.write_bytes(content[:at] + b"!" + content[at + 1 :])
    os.utime(segment, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_sealed_segment_has_an_index_from_its_recorder(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    for number in range(30):
        recorder.put(
            "message",
            direction="to_client",
            session=f"session_{number // 10}",
            data=b'{"id":"m","type":"chat_send","payload":"%s"}' % (b"x" * 100_000),
        )
    recorder.close()
    (segment,) = recorder.folder.glob("*.jsonl")
    path = segment.with_suffix(".index")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    index = index_of(segment)
    assert index is not None
    assert sum(block.records for block in index.blocks) == recorder.records_written
    assert [block.odd for block in index.blocks] == [0] * len(index.blocks)
    assert len(index.blocks) >= 2
    assert path.stat().st_size < segment.stat().st_size / 100
    # It says what one says that is made of the file, but for where blocks end.
    built = build_index(segment)
    assert built is not None
    assert (built.values, built.bytes, built.sha256) == (index.values, index.bytes, index.sha256)
    assert verify(recorder.folder, secrets=True).index_ok


def test_a_short_segment_has_none(new_recorder: NewRecorder) -> None:
    recorder = new_recorder()
    recorder.put("mark", note="one")
    recorder.close()
    assert [path.name for path in recorder.folder.iterdir()] == ["000001.jsonl"]


@pytest.mark.parametrize("packed", [False, True])
def test_what_cannot_hold_it_is_not_read(segment: Path, *, packed: bool) -> None:
    spoil(segment, 100)
    spoil(segment, 1500)
    source = compress(segment) if packed else segment
    assert numbers(source, _ONE_TYPE) == list(range(700, 800))
    assert numbers(source, Selection(sessions=("000007",))) == list(range(700, 800))
    assert numbers(source, Selection(types=("type_7",), around=1)) == list(range(699, 801))
    found = numbers(source, Selection(begin=Place("number", 1900), types=("type_*",)))
    assert found == list(range(1900, 2001))
    (source.with_name("000001.index")).unlink()
    with open_recording(source) as reader:
        assert [record.n for record, _ in choose(reader, _ONE_TYPE)] == list(range(700, 800))
        assert len(list(choose(open_recording(source), Selection(types=("type_*",))))) == 1998


@pytest.mark.parametrize(("between", "around"), [("open", 2), ("greeting", 152)])
def test_neighbours_are_found_beyond_blocks_that_hold_none(
    between: str, around: int, segment: Path
) -> None:
    records = [Record(n=n, t=n, kind="message", type="chat") for n in range(1, 1102)]
    for record in (*records[250:550], *records[551:851]):
        if between == "open":
            record.kind, record.note = "open", "x" * 100
        else:  # by turns what the upstream said and what the relay passed on
            record.kind = "inject" if record.n % 2 != (record.n < 551) else "message"
            record.type, record.session = "connection_established", "s"
    records[550].type = "error"
    content = sealed_bytes([encode_record(each) for each in records], n=1102)
    segment.write_bytes(content)
    index_in_blocks(segment, content, 2000)
    wanted = Selection(types=("error",), around=around).of_messages()
    with open_recording(segment) as reader:
        found = [record.n for record, _ in choose(reader, wanted, greets_once=True)]
    assert (found[:2], found[-2:]) == ([249, 250], [852, 853])
    assert len(found) == 2 * around + 1


def test_a_greeting_in_another_block_is_known_to_be_passed_on(segment: Path) -> None:
    records = [Record(n=n, t=n, kind="message", type="chat", data="x" * 90) for n in range(1, 602)]
    for place, kind in ((100, "message"), (399, "inject")):
        records[place].kind, records[place].session = kind, "s"
        records[place].type = "connection_established"
    records[400].type = "error"
    content = sealed_bytes([encode_record(each) for each in records], n=602)
    segment.write_bytes(content)
    index_in_blocks(segment, content, 2000)
    wanted = Selection(types=("error",), around=1).of_messages()
    with open_recording(segment) as reader:
        found = [record.n for record, _ in choose(reader, wanted, greets_once=True)]
    assert found == [399, 401, 402]


def test_a_segment_of_a_folder_that_cannot_hold_it_is_not_read(folder: Path, segment: Path) -> None:
    spoil(segment, 100)
    spoil(segment, 1000)
    content = sealed_bytes(messages(900)[699:], segment=2, n=3000)
    (folder / "000002.jsonl").write_bytes(content)
    wanted = Selection(sessions=("session_000008",))
    assert numbers(folder, wanted) == [*range(800, 900)] * 2
    assert numbers(folder, Selection(sessions=("nobody",))) == []


def test_it_stays_right_when_its_segment_is_compressed(segment: Path) -> None:
    before = index_of(segment)
    assert before is not None
    assert index_of(compress(segment)) == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.replace(b'"type_3"', b'"type_7"'),
        lambda content: content + b"\n",
        lambda content: content.rsplit(b"\n", 2)[0] + b"\n",
    ],
)
def test_a_segment_that_was_changed_since_is_searched_as_it_is(
    segment: Path, edit: Callable[[bytes], bytes]
) -> None:
    before = numbers(segment, _ONE_TYPE)
    segment.write_bytes(edit(segment.read_bytes()))
    assert index_of(segment) is None
    with open_recording(segment) as reader:
        found = [record.n for record, _ in choose(reader, _ONE_TYPE)]
    assert (
        found == (list(range(300, 400)) if b"type_3" not in segment.read_bytes() else []) + before
    )


def test_an_index_of_another_segment_is_none(segment: Path, tmp_path: Path) -> None:
    other = tmp_path / "000001.jsonl"
    content = sealed_bytes(messages(2000, user="somebody"), n=2001)
    other.write_bytes(content)
    index_in_blocks(other, content, 10_000)
    theirs = other.with_suffix(".index")
    theirs.replace(segment.with_suffix(".index"))
    change(segment, modified_ns=segment.stat().st_mtime_ns)
    assert index_of(segment) is None
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))


_HOSTILE: dict[str, bytes | Callable[[SegmentIndex], dict[str, object]]] = {
    "empty": b"",
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
    "deep inside": b'{"format":"megabot-index","values":' + b"[" * 50_000,
    "newer": lambda _: {"version": "2.0"},
    "no version": lambda _: {"version": "one"},
    "another format": lambda _: {"format": "megabot-recording"},
    "negative": lambda index: {"blocks": [_as_dict(index, 0) | {"at": -5}]},
    "beyond": lambda index: {"blocks": [_as_dict(index, 0), _as_dict(index, 1) | {"at": 2**50}]},
    "beyond all": lambda index: {"blocks": [_as_dict(index, 0) | {"at": 2**70}]},
    "back": lambda index: {"blocks": [_as_dict(index, 1), _as_dict(index, 0)]},
    "twice": lambda index: {"blocks": [_as_dict(index, 0)] * 2},
    "not from the start": lambda index: {"blocks": [_as_dict(index, 1)]},
    "unknown values": lambda index: {"blocks": [_as_dict(index, 0) | {"holds": {"type": [999]}}]},
    "no values": lambda index: {"values": {}},
    "a backward span": lambda index: {"blocks": [_as_dict(index, 0) | {"n": [9, 1]}]},
}


def _as_dict(index: SegmentIndex, place: int) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(index.blocks[place])
    return found


@pytest.mark.parametrize("name", _HOSTILE)
def test_what_is_wrong_with_an_index_is_as_if_there_were_none(segment: Path, name: str) -> None:
    index = index_of(segment)
    assert index is not None
    wrong = _HOSTILE[name]
    if isinstance(wrong, bytes):
        segment.with_suffix(".index").write_bytes(wrong)
    else:
        change(segment, **wrong(index))
    assert index_of(segment) is None
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))
    refresh_index(segment, 0)
    assert index_of(segment) is not None


def test_an_index_that_is_cut_anywhere_is_none(segment: Path) -> None:
    path = segment.with_suffix(".index")
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 37):
        path.write_bytes(content[:length])
        assert index_of(segment) is None


def test_an_index_without_end_is_not_read(segment: Path) -> None:
    with segment.with_suffix(".index").open("r+b") as file:
        file.truncate(8 * 1024**3)
    assert index_of(segment) is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_no_index_and_stays(segment: Path, make: Callable[[Path], None]) -> None:
    path = segment.with_suffix(".index")
    path.unlink()
    make(path)
    assert index_of(segment) is None
    refresh_index(segment, 0)
    assert os.path.lexists(path)
    assert not stat.S_ISREG(path.lstat().st_mode)
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))


def test_a_file_of_somebody_else_with_that_name_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(sealed_bytes(messages(10)))
    (tmp_path / "notes.index").write_text("what I think of it\n")
    refresh_index(path, 0)
    assert (tmp_path / "notes.index").read_text() == "what I think of it\n"


def test_places_within_lines_make_no_record_up(segment: Path) -> None:
    index = index_of(segment)
    assert index is not None
    moved = [
        msgspec.structs.replace(block, at=block.at + 7 * bool(place))
        for place, block in enumerate(index.blocks)
    ]
    segment.with_suffix(".index").write_bytes(
        encode_index(msgspec.structs.replace(index, blocks=moved))
    )
    found = numbers(segment, _ONE_TYPE)
    assert set(found) <= set(range(700, 800))
    assert verify(segment).index_ok is False


def test_verify_is_content_with_an_index_that_is_true(segment: Path) -> None:
    assert verify(segment).index_ok is True
    assert verify(segment).clean
    segment.with_suffix(".index").unlink()
    assert verify(segment).index_ok is None
    assert verify(segment).clean


@pytest.mark.parametrize(
    ("name", "value"), [("records", 3), ("n", [1, 3]), ("holds", {"type": [3]}), ("at", 50_003)]
)
def test_verify_tells_an_index_that_lies(segment: Path, name: str, value: object) -> None:
    index = index_of(segment)
    assert index is not None
    blocks = [_as_dict(index, place) for place in range(len(index.blocks))]
    (block,) = [block for block in blocks if 50_000 <= block["at"] < 60_000]  # type: ignore[operator]
    block[name] = value
    change(segment, blocks=blocks)
    assert index_of(segment) is not None
    found = verify(segment)
    assert (found.index_ok, found.clean) == (False, False)
    assert any("its index does not say" in problem for problem in found.problems)


def test_a_secret_in_an_index_is_found(segment: Path) -> None:
    assert verify(segment, secrets=True).secrets_found == 0
    change(segment, later={"password": "hunter2hunter2"})
    assert verify(segment, secrets=True).secrets_found == 1


def test_an_index_is_small_whatever_its_segment_holds(tmp_path: Path) -> None:
    path = tmp_path / "000001.jsonl"
    lines = [
        line.replace(b"session_000000", b"session_%d_%s" % (n, b"s" * (n % 300)))
        for n, line in enumerate(messages(99) * 300)
    ]
    path.write_bytes(sealed_bytes(lines))
    refresh_index(path, 0)
    size = path.with_suffix(".index").stat().st_size
    assert size < path.stat().st_size / 100
    assert numbers(path, Selection(sessions=(f"session_298_{'s' * 298}",)))


def test_a_later_minor_version_is_used(segment: Path) -> None:
    change(segment, version="1.7", later=[1])
    assert index_of(segment) is not None
    assert numbers(segment, _ONE_TYPE) == list(range(700, 800))


def test_any_index_is_written_as_it_was_read(segment: Path) -> None:
    content = segment.with_suffix(".index").read_bytes()
    assert encode_index(decode_index(content)) == content


def test_an_index_that_would_be_too_long_tells_of_no_block_and_is_not_made_again(
    folder: Path,
) -> None:
    path = folder / "000001.jsonl"
    path.write_bytes(content := sealed_bytes(messages(6000), n=6001))
    index_in_blocks(path, content, 100)
    index = index_of(path)
    assert index is not None
    assert index.blocks == []
    assert numbers(path, _ONE_TYPE) == list(range(700, 800))
