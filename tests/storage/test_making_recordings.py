"""Recordings made of recordings: cut and merged, and the lines of them."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.commands.tail_screen import _keep
from megabot_cli.errors import BadData
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import decode_line, encode_record
from megabot_cli.recording.line_edit import edit_line
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage.converting import write_part, write_whole
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.losses import with_losses
from megabot_cli.storage.merging import merge
from megabot_cli.storage.more_secrets import MoreSecrets
from megabot_cli.storage.recording_reader import open_recording
from megabot_cli.storage.sanitizing import Dropping, Sanitized, sanitize
from megabot_cli.storage.sealed_segment import SealedSegment
from megabot_cli.storage.verification import Verification, verify
from tests.recording.arbitrary import records, thorough
from tests.storage.conftest import NewRecorder, marks, read, segment_bytes

GOLDEN = Path(__file__).parents[1] / "golden" / "recording_1_0"


SEALED = GOLDEN / "sealed"


LATER = GOLDEN / "later_minor.jsonl.gz"


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def header_of(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(lines_of(path)[0])
    return fields


def cut(source: Path, made: Path, **wanted: Any) -> Verification:
    with open_any(source) as reader, made.open("wb") as file:
        lines = with_losses(reader, Selection(**wanted))
        write_part(reader, lines, file.write, "cut")
    return verify(made)


def merged(made: Path, *sources: Path, **wanted: Any) -> list[Record]:
    with ExitStack() as stack:
        readers = [stack.enter_context(open_any(source)) for source in sources]
        file = stack.enter_context(made.open("wb"))
        merge(readers, [path.name for path in sources], file.write, wanted=Selection(**wanted))
    assert verify(made).clean, verify(made).problems
    with open_recording(made) as found:
        return list(found)


def sanitized(
    source: Path,
    made: Path,
    keys: tuple[str, ...] = (),
    patterns: tuple[str, ...] = (),
    **drop: Any,
) -> Sanitized:
    with open_any(source) as reader, made.open("wb") as file:
        secrets = MoreSecrets(keys, patterns)
        return sanitize(reader, with_losses(reader), file.write, secrets, Dropping(**drop))


def recorded(path: Path, some: list[Record], **header: Any) -> Path:
    """A sealed recording, so that what is made of it has no gap at its end."""
    path.write_bytes(sealed_bytes(segment_bytes(some, **header)))
    return path


def sealed_bytes(unsealed: bytes) -> bytes:
    made = io.BytesIO()
    header, *lines = unsealed.splitlines()
    segment = SealedSegment(made.write, header)
    for line in lines:
        record = decode_line(line)
        assert isinstance(record, Record)
        segment.add(record, line)
    segment.seal()
    return made.getvalue()


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


# -- merge ----------------------------------------------------------------------------------


def test_records_are_merged_by_wall_time(tmp_path: Path) -> None:
    first = recorded(tmp_path / "a", marks(3))
    text = segment_bytes(marks(3)).replace(b"04:12:09Z", b"04:12:09.000015Z")
    (tmp_path / "b").write_bytes(sealed_bytes(text.replace(b"rec_1", b"rec_2")))
    found = merged(tmp_path / "made", tmp_path / "b", first)
    assert [(record.n, record.t, record.note) for record in found] == [
        (1, 10, "no 1"), (2, 20, "no 2"), (3, 25, "no 1"),
        (4, 30, "no 3"), (5, 35, "no 2"), (6, 45, "no 3"),
    ]  # fmt: skip


def said_by(client: str, n: int = 1) -> Record:
    return Record(n=n, t=n, kind="message", client=client, link="link_1", data="{}")


def test_clients_and_links_of_different_recordings_stay_apart(tmp_path: Path) -> None:
    sources = []
    for name in ("rec_a", "rec_b", "rec_c"):
        path = recorded(tmp_path / name, [said_by("client_1")])
        path.write_bytes(path.read_bytes().replace(b"rec_1", name.encode()))
        sources.append(path)
    found = merged(tmp_path / "made", *sources)
    assert [(record.client, record.link) for record in found] == [
        ("client_1", "link_1"), ("client_1@2", "link_1@2"), ("client_1@3", "link_1@3"),
    ]  # fmt: skip


def test_what_was_cut_in_two_is_one_again(tmp_path: Path) -> None:
    cut(SEALED, tmp_path / "a", direction="to_client")
    cut(SEALED, tmp_path / "b", direction="to_upstream")
    found = merged(tmp_path / "made", tmp_path / "b", tmp_path / "a")
    with open_recording(SEALED) as reader:
        whole = [record for record in reader if record.direction is not None]
    assert [(each.t, each.client, each.link, each.data, each.data_b64) for each in found] == [
        (each.t, each.client, each.link, each.data, each.data_b64) for each in whole
    ]


def test_a_hole_in_a_source_becomes_a_gap(tmp_path: Path) -> None:
    source = recorded(tmp_path / "a", [*marks(2), *marks(2, first=7)])
    found = merged(tmp_path / "made", source)
    assert [(record.kind, record.lost) for record in found] == [
        ("mark", None), ("mark", None), ("gap", 4), ("mark", None), ("mark", None),
    ]  # fmt: skip


def test_the_end_of_a_segment_is_no_hole(tmp_path: Path) -> None:
    found = merged(tmp_path / "made", SEALED)
    assert len(found) == 35
    assert not any(record.lost for record in found)


_places = st.none() | st.one_of(
    st.builds(Place, st.just("offset"), st.integers(0, 60)),
    st.builds(Place, st.just("mark"), st.just(0), st.sampled_from(["m3", "m7", "none"])),
    st.builds(Place, st.just("wall"), st.integers(0, 60).map(lambda t: 1_795_407_129_000_000 + t)),
)


@settings(thorough, max_examples=150)
@given(
    sources=st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abm")), max_size=8),
        min_size=1,
        max_size=3,
    ),
    wanted=st.fixed_dictionaries(
        {
            "types": st.sampled_from([(), ("a",)]),
            "begin": _places,
            "until": _places,
            "limit": st.none() | st.integers(1, 4),
            "around": st.sampled_from([0, 0, 1, 2]),
        }
    ),
)
def test_what_is_chosen_in_merging_is_what_is_cut_of_all_that_was_merged(
    tmp_path_factory: pytest.TempPathFactory,
    sources: list[list[tuple[int, str]]],
    wanted: dict[str, Any],
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    paths = []
    for number, facts in enumerate(sources):
        found = []
        for n, (t, what) in enumerate(sorted(facts), 1):
            record = Record(n=n, t=t, kind="message", type=what, data=f"{number}:{n}")
            if what == "m":
                record = Record(n=n, t=t, kind="mark", note=f"m{n}")
            found.append(record)
        paths.append(recorded(folder / str(number), found))
    chosen = merged(folder / "chosen", *paths, **wanted)
    assert [each.n for each in chosen] == list(range(1, len(chosen) + 1)), "there are no holes"
    merged(folder / "all", *paths)
    cut(folder / "all", folder / "part", **wanted)

    def facts_of(records: list[Record]) -> list[tuple[object, ...]]:
        return [(each.t, each.kind, each.data, each.note) for each in records]

    assert facts_of(chosen) == facts_of(read(folder / "part"))


def test_what_may_have_been_wanted_is_told_lost_in_merging_too(tmp_path: Path) -> None:
    records = [*marks(2), *marks(2, first=7), *marks(2, first=20)]
    records[0].type = records[4].type = "a"
    source = recorded(tmp_path / "a", records)

    def told(**wanted: Any) -> list[tuple[str, int | None]]:
        found = merged(tmp_path / "made", source, **wanted)
        return [(record.kind, record.lost) for record in found]

    assert told(types=("a",)) == [("mark", None), ("gap", 4), ("gap", 11), ("mark", None)]
    assert told(types=("a",), limit=1) == [("mark", None)]
    assert told(begin=Place("offset", 80)) == [
        *(("mark", None), ("gap", 11), ("mark", None), ("mark", None)),
    ]
    assert told(types=("a",), around=1) == [
        *(("mark", None), ("mark", None), ("gap", 4)),
        *(("mark", None), ("gap", 11), ("mark", None), ("mark", None)),
    ]
    source.write_bytes(segment_bytes(records)[:-5])
    assert told(types=("a",)) == [
        *(("mark", None), ("gap", 4), ("gap", 11), ("mark", None), ("gap", 1)),
    ]


def test_a_merged_part_tells_by_which_words_it_was_chosen(tmp_path: Path) -> None:
    wanted = {"types": ("chat_*",), "direction": "to_client"}
    part = Selection(limit=20)
    with open_any(SEALED) as reader, (tmp_path / "a").open("wb") as file:
        write_part(reader, with_losses(reader, part), file.write, "cut", part)
    merged(tmp_path / "made", tmp_path / "a", SEALED, **wanted)
    labels = header_of(tmp_path / "made")["labels"]
    assert labels["chosen"] == "… | --type 'chat_*' --direction to_client"
    assert "holes" not in labels, "the numbers are new ones"
    merged(tmp_path / "made", SEALED, SEALED, **wanted)
    assert header_of(tmp_path / "made")["labels"]["chosen"].startswith("--type")
    merged(tmp_path / "made", SEALED, SEALED)
    assert "chosen" not in header_of(tmp_path / "made")["labels"]


def test_merging_what_does_not_say_when_it_began_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(segment_bytes(marks(1)).replace(b"2026-11-23T04:12:09Z", b""))
    with pytest.raises(BadData, match="a does not say when it began"):
        merged(tmp_path / "made", source)


@settings(thorough, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=1, max_size=4))
def test_any_merge_keeps_each_source_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, times: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    sources = []
    for number, offsets in enumerate(times):
        some = [
            Record(n=n, t=t, kind="mark", note=f"{number}:{n}")
            for n, t in enumerate(sorted(offsets), 1)
        ]
        sources.append(recorded(folder / str(number), some))
    found = merged(folder / "made", *sources)
    assert len(found) == sum(map(len, times))
    assert [record.t for record in found] == sorted(record.t for record in found)
    for number, offsets in enumerate(times):
        own = [each.note for each in found if (each.note or "").startswith(f"{number}:")]
        assert own == [f"{number}:{n}" for n in range(1, len(offsets) + 1)]


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
    har = GOLDEN.parent / "har" / "chromium_156.har"
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
