"""Recordings made of recordings: cut, changed, and the lines of them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from megabot_cli.commands.tail_screen import _keep
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import decode_line, encode_record
from megabot_cli.recording.line_edit import edit_line
from megabot_cli.recording.record import Record
from megabot_cli.storage.converting import write_whole
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.merging import merge
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.verification import Verification, verify
from tests.recording.arbitrary import records, thorough
from tests.storage.conftest import NewRecorder, marks, read, segment_bytes
from tests.storage.made import (
    LATER,
    SEALED,
    cut,
    header_of,
    lines_of,
    merged,
    recorded,
    sanitized,
)

# -- cut ------------------------------------------------------------------------------------


def test_a_cut_keeps_numbers_times_and_lines(tmp_path: Path) -> None:
    made = tmp_path / "cut.jsonl"
    found = cut(SEALED, made, types=("chat_*",))
    assert (found.clean, found.holes, found.sha256_ok) == (True, 0, True)
    assert found.left_out > 0
    source = [line for part in sorted(SEALED.iterdir()) for line in lines_of(part)]
    kept = lines_of(made)[1:-1]
    assert kept == [line for line in source if b'"type":"chat_' in line.split(b'"size"')[0]]


def test_the_header_of_a_cut_says_what_it_was_made_from(tmp_path: Path) -> None:
    cut(SEALED, tmp_path / "cut.jsonl", limit=3)
    header = header_of(tmp_path / "cut.jsonl")
    assert header["recording"] != "rec_1kaqejzh33bc0m1jc"
    assert header["previous"] == "rec_1kaqejzh33bc0m1jc/000001.jsonl"
    assert header["started_at"] == "2025-11-23T04:12:09.123456Z"
    assert header["labels"] == {
        "where": "test",
        "made_from": "rec_1kaqejzh33bc0m1jc",
        "made_by": "cut",
        "holes": "cut",
    }


def test_a_cut_of_a_later_minor_version_keeps_its_version_and_keys(tmp_path: Path) -> None:
    made = tmp_path / "cut.jsonl"
    cut(LATER, made, limit=4)
    source = gzip.decompress(LATER.read_bytes()).splitlines()
    assert lines_of(made)[1:-1] == [line for line in source[1:] if b'"kind":"end"' not in line]
    before, after = json.loads(source[0]), header_of(made)
    assert after["version"] == before["version"]
    assert before.keys() <= after.keys()


def test_a_cut_that_was_changed_afterwards_is_unclean(tmp_path: Path) -> None:
    made = tmp_path / "cut.jsonl"
    cut(SEALED, made, types=("chat_*",))
    made.write_bytes(made.read_bytes().replace(b"Hello ", b"hello "))
    assert not verify(made).clean


# -- what a source lost -------------------------------------------------------------------------


def damaged(tmp_path: Path) -> Path:
    """Ten marks, of which the fifth and sixth are no records any more, sealed."""
    source = recorded(tmp_path / "damaged", marks(10))
    lines = lines_of(source)
    lines[5] = b'{"n":5, garbage'
    lines[6] = b"\0" * 20
    source.write_bytes(b"\n".join(lines) + b"\n")
    return source


def told(path: Path) -> list[tuple[int, str, int | None]]:
    with open_recording(path) as reader:
        return [(each.n, each.kind, each.lost) for each in reader if each.kind == "gap"]


def test_a_part_tells_what_was_lost_where_it_was_cut_from(tmp_path: Path) -> None:
    source, made = damaged(tmp_path), tmp_path / "made"
    assert cut(source, made, begin=Place("number", 3), until=Place("number", 9)).gaps == 1
    assert told(made) == [(5, "gap", 2)]
    for wanted in ({"kinds": ("message",)}, {"kinds": ("mark",), "around": 2}):
        cut(source, made, **wanted)
        assert told(made) == [(5, "gap", 2)]
    for elsewhere in ({"begin": Place("number", 8)}, {"limit": 4}, {"until": Place("offset", 40)}):
        cut(source, made, **elsewhere)
        assert told(made) == []
    sanitized(source, made)
    assert told(made) == [(5, "gap", 2)]
    assert (verify(made).clean, verify(made).lost) == (True, 2)


def test_a_part_of_a_part_tells_the_lines_that_were_no_records(tmp_path: Path) -> None:
    source = damaged(tmp_path)
    source.write_bytes(source.read_bytes().replace(b'"labels":{}', b'"labels":{"holes":"cut"}'))
    cut(source, tmp_path / "made", begin=Place("number", 2))
    assert told(tmp_path / "made") == [(5, "gap", 2)]


@pytest.mark.parametrize(
    ("tail", "note"), [(b"", "could not be read in the source"), (b'{"id"', "breaks off here")]
)
def test_bare_messages_with_a_line_that_is_none_do_not_break_off(
    tmp_path: Path, tail: bytes, note: str
) -> None:
    source, made = tmp_path / "bare.jsonl", tmp_path / "made"
    source.write_bytes(b'{"type":"a","payload":1}\nno message\n{"type":"b","payload":2}\n' + tail)
    whole(source, made)
    gap = list(read(made))[-1]
    assert (gap.kind, gap.lost) == ("gap", 1 + bool(tail))
    assert note in (gap.note or "")


@pytest.mark.parametrize("torn_bytes", [0, 7])
def test_what_is_made_of_a_recording_that_breaks_off_says_so(
    tmp_path: Path, torn_bytes: int
) -> None:
    content = segment_bytes(marks(5))
    source = tmp_path / "torn"
    source.write_bytes(content[: len(content) - torn_bytes])
    last, lost = (4, 1) if torn_bytes else (5, None)
    sanitized(source, tmp_path / "sanitized")
    cut(source, tmp_path / "cut", begin=Place("number", 2))
    whole(source, tmp_path / "whole")
    merged(tmp_path / "merged", source)
    for name in ("sanitized", "cut", "whole", "merged"):
        assert told(tmp_path / name) == [(last + 1, "gap", lost)], name
        assert verify(tmp_path / name).gaps == 1
    cut(source, tmp_path / "cut", limit=3)
    assert told(tmp_path / "cut") == []


def test_a_last_segment_of_which_a_power_cut_left_nothing_is_a_loss(
    tmp_path: Path, new_recorder: NewRecorder
) -> None:
    recorder = new_recorder()
    recorder.put("mark", note="here")
    recorder.close()
    (recorder.folder / "000002.jsonl.part").touch()
    cut(recorder.folder, tmp_path / "made")
    assert [kind for _, kind, _ in told(tmp_path / "made")] == ["gap"]


def test_what_is_made_of_a_recording_under_way_has_no_gap_at_its_end(
    tmp_path: Path, new_recorder: NewRecorder
) -> None:
    recorder = new_recorder()
    recorder.put("mark", note="here")
    assert recorder.flush(5.0)
    assert cut(recorder.folder, tmp_path / "made").records == 1
    assert told(tmp_path / "made") == []


# -- the whole ------------------------------------------------------------------------------


def whole(source: Path, made: Path) -> Verification:
    with open_any(source) as reader, made.open("wb") as file:
        write_whole(reader, file.write, bool)
    return verify(made)


def test_several_segments_become_one_without_holes(tmp_path: Path) -> None:
    found = whole(SEALED, tmp_path / "made")
    assert (found.clean, found.records, found.holes, found.segments) == (True, 35, 0, 1)


def test_a_hole_stays_a_hole(tmp_path: Path) -> None:
    source = recorded(tmp_path / "a", [*marks(2), *marks(2, first=7)])
    found = whole(source, tmp_path / "made")
    assert (found.clean, found.holes) == (False, 4)


def test_what_was_removed_before_the_first_segment_is_no_loss(tmp_path: Path) -> None:
    source = recorded(tmp_path / "a", marks(2, first=500), segment=7)
    assert whole(source, tmp_path / "made").clean


# -- lines ----------------------------------------------------------------------------------


@thorough
@given(records, records)
def test_any_line_takes_any_values(record: Record, other: Record) -> None:
    changed = {name: getattr(other, name) for name in ("n", "t", "client", "redacted", "data")}
    edited = edit_line(encode_record(record)[:-1], changed)
    for name, value in changed.items():
        setattr(record, name, value)
    assert edited == encode_record(record)[:-1]
    assert decode_line(edited) == record


def test_an_edited_line_keeps_numbers_and_unknown_keys_to_the_character() -> None:
    line = b'{"n":1,"t":2,"kind":"mark","odd":[1.0e2, 12345678901234567890],"note":"x"}'
    assert edit_line(line, {"n": 7}) == line.replace(b'"n":1', b'"n":7')
    assert edit_line(line, {"link": "l", "note": None}) == (
        b'{"n":1,"t":2,"kind":"mark","link":"l","odd":[1.0e2, 12345678901234567890]}'
    )


def test_a_foreign_file_is_cut_and_sanitized_too(tmp_path: Path) -> None:
    har = SEALED.parents[1] / "har" / "chromium_156.har"
    assert cut(har, tmp_path / "cut", types=("chat_send",)).records == 2
    assert sanitized(har, tmp_path / "made", keys=("content",)).changed > 0
    output = io.BytesIO()
    with open_any(har) as reader:
        merge([reader], ["har"], output.write)
    assert output.getvalue().count(b"\n") == 15


@pytest.mark.parametrize("place", ["header", "record"])
def test_a_key_that_nobody_knows_may_be_no_utf8(tmp_path: Path, place: str) -> None:
    header, first, *rest = segment_bytes(marks(3)).splitlines(keepends=True)
    odd = b',"od\xf8d":"a\xffb"}\n'
    header = header.replace(b"}\n", odd) if place == "header" else header
    first = first.replace(b"}\n", odd) if place == "record" else first
    source = tmp_path / "odd.jsonl"
    source.write_bytes(b"".join([header, first, *rest]))
    sanitized(source, tmp_path / "s.jsonl", keys=("note",))
    with open_any(source) as reader, (tmp_path / "w.jsonl").open("wb") as file:
        write_whole(reader, file.write, lambda _: None)
    for made in ("s.jsonl", "w.jsonl"):
        assert verify(tmp_path / made, secrets=True).records == 4, made  # and a gap: no end
    assert len(merged(tmp_path / "m.jsonl", source, SEALED)) > 4


def test_a_header_that_is_no_utf8_and_has_no_end_is_taken_for_torn(tmp_path: Path) -> None:
    header = segment_bytes([]).rstrip(b"\n")
    source = tmp_path / "odd.jsonl"
    source.write_bytes(header.replace(b'"recording"', b'"recor\xffding"'))
    with open_any(source) as reader:
        assert list(reader) == []
        assert reader.header is None


def test_what_is_kept_of_a_tail_says_what_the_first_recording_said(
    tmp_path: Path, new_recorder: NewRecorder
) -> None:
    first = new_recorder(tmp_path / "first")
    secret = '{"id":"m","type":"x","payload":{"password":"hunter22-and-more","content":"häß"}}'
    first.keep_message("to_client", secret.encode(), None, "l", None)
    first.keep_message("to_client", gzip.compress(secret.encode()), None, "l", None, None, True)
    first.keep_message("to_client", b"\0Bearer " + b"s3cret" * 9, None, "l", None, None, True)
    first.close()
    records = read(first.folder)
    assert [record.redacted for record in records] == [*[["$.payload.password"]] * 2, ["$"]]
    again = new_recorder(tmp_path / "again")
    for record in records:
        _keep(again, record)
    again.close()
    assert [msgspec.structs.replace(record, t=0) for record in read(again.folder)] == [
        msgspec.structs.replace(record, t=0) for record in records
    ]
