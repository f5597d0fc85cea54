"""A quick search gives what reading every line would have given."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.recording.format_v1 import (
    BadLine,
    Header,
    decode_line,
    encode_header,
    encode_record,
)
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import MESSAGES_AND_LOSSES, Selection
from megabot_cli.storage.choosing import choose, choose_many
from megabot_cli.storage.line_search import LineSearch
from megabot_cli.storage.recording_reader import open_recording


def searched(content: bytes, *literals: bytes, most_bytes: int = 1000) -> list[bytes]:
    return list(LineSearch(io.BytesIO(content), literals, most_bytes=most_bytes))


class Trickle(io.BytesIO):
    """Gives a few bytes at a time, as a pipe may."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(min(size or 7, 7))


@given(
    lines=st.lists(st.text("abx\\u0061", max_size=12).map(str.encode)),
    literal=st.sampled_from([b"a", b"ab", b"bx", b"\\u"]),
)
def test_it_gives_the_lines_that_hold_a_text_or_hide_letters(
    lines: list[bytes], literal: bytes
) -> None:
    content = b"".join(line + b"\n" for line in lines)
    expected = [
        line
        for line in lines
        if literal in line or any(b"\\u00" + bytes([c]) in line for c in b"234567")
    ]
    assert searched(content, literal) == expected
    assert list(LineSearch(Trickle(content), [literal])) == expected
    assert searched(content) == lines
    assert list(LineSearch(Trickle(content))) == lines


def test_a_line_that_comes_in_pieces_is_given_once_also_where_such_lines_are_many() -> None:
    lines = [b"a"] * 40 + [b"a" + b"x" * 500 + b"a"] * 3
    content = b"".join(line + b"\n" for line in lines)
    assert list(LineSearch(Blocks(content), [b"a"])) == lines


class Blocks(io.BytesIO):
    """Gives some dozens of short lines at a time."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(min(size or 200, 200))


@given(
    lines=st.lists(st.sampled_from([b"a", b"ab", b"bx", b"x\\u0061", b""]), min_size=80),
    literals=st.sampled_from([(b"a",), (b"b", b"a"), (b"x",), (b"none",)]),
    escapes=st.booleans(),
)
def test_it_gives_the_same_lines_where_they_are_many_and_where_few(
    lines: list[bytes], literals: tuple[bytes, ...], escapes: bool
) -> None:
    many = [b"a"] * 100 + lines + [b"none"] * 100 + lines
    search = LineSearch(Blocks(b"\n".join(many) + b"\n"), literals, escapes=escapes)
    assert list(search) == [
        line
        for line in many
        if any(literal in line for literal in literals) or (escapes and b"\\u00" in line)
    ]


def test_what_lacks_its_newline_is_left_over() -> None:
    search = LineSearch(io.BytesIO(b"one\ntwo\nthr"))
    assert list(search) == [b"one", b"two"]
    assert search.rest == b"thr"


@pytest.mark.parametrize("file", [io.BytesIO, Trickle])
def test_a_line_longer_than_any_record_is_passed_over(file: type[io.BytesIO]) -> None:
    search = LineSearch(file(b"a1\n" + b"a" * 5000 + b"\na2\n"), [b"a"], most_bytes=100)
    assert [line for line in search if len(line) < 100] == [b"a1", b"a2"]


def write(path: Path, records: list[Record], *, tool: str = "megabot 0.1.0") -> Path:
    lines = [encode_header(Header(recording="rec_1", tool=tool)), *map(encode_record, records)]
    path.write_bytes(b"".join(lines))
    return path


names = st.sampled_from(["a", "b", "error", "é", 'q"', None])
contents = st.sampled_from(["busy", "b\u00fcsy", "bus", "error", ""])


@given(
    facts=st.lists(st.tuples(names, names, contents, st.booleans()), max_size=12),
    wanted=st.builds(
        Selection,
        types=st.sampled_from([(), ("error",), ("a", "b"), ("e*",)]),
        sessions=st.sampled_from([(), ("a",), ("é",), ('q"',)]),
        grep=st.sampled_from([None, "busy", "b.sy"]),
        where=st.sampled_from(
            [None, "payload.content == 'busy'", "type == 'a' && payload.content.contains('us')"]
        ),
    ),
)
@settings(deadline=None)
def test_any_selection_finds_by_searching_what_it_finds_by_reading(
    tmp_path_factory: pytest.TempPathFactory,
    facts: list[tuple[str | None, str | None, str, bool]],
    wanted: Selection,
) -> None:
    records = [
        Record(
            n=n,
            t=n,
            kind="message",
            type=kind,
            session=session,
            data=_escaped(json.dumps({"payload": {"content": content}}), all_of_it=escapes),
        )
        for n, (kind, session, content, escapes) in enumerate(facts, 1)
    ]
    path = write(tmp_path_factory.mktemp("search") / "000001.jsonl", records)
    matches = wanted.matcher().matches
    with open_recording(path) as reader:
        found = [record.n for record, _ in choose(reader, wanted)]
    assert found == [record.n for record in records if matches(record)]


def _escaped(text: str, *, all_of_it: bool) -> str:
    """JSON that writes letters as numbers, as is its right."""
    return text.replace("bus", "\\u0062\\u0075s") if all_of_it else text


@given(
    changed=st.dictionaries(
        st.sampled_from(["n", "t", "kind", "type", "size", "client", "data", "later"]),
        st.sampled_from([0, 1, -1, 2.5, "a", "end", "message", None, ["a"], {"b": 1}]),
    ),
    wanted=st.builds(
        Selection,
        types=st.sampled_from([(), ("a",), ("a*",)]),
        kinds=st.sampled_from([(), ("message",)]),
        direction=st.sampled_from([None, "to_client"]),
        grep=st.sampled_from([None, "a"]),
        from_us=st.sampled_from([None, 1]),
        where=st.sampled_from([None, "size > 0 || client == 'a'", "text.matches('a')"]),
    ),
)
@settings(deadline=None)
def test_a_glance_at_a_line_wants_what_the_whole_record_does(
    changed: dict[str, object], wanted: Selection
) -> None:
    line = json.dumps({"n": 1, "t": 0, "kind": "message", "data": "a", **changed}).encode()
    matcher = wanted.matcher()
    glance = matcher.glance()
    if glance is None:
        assert wanted.everything
        return
    try:
        record = decode_line(line)
    except BadLine:
        return  # what is bad may be seen, or be passed over for what else it says
    assert glance(line) is (not isinstance(record, Record) or matcher.matches(record))


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"n":1}', b'{"n":0,"t":0,"kind":"message"}'])
def test_no_glance_hides_a_line_that_is_no_record(line: bytes) -> None:
    glance = Selection(types=("a",)).matcher().glance()
    assert glance is not None
    assert glance(line)


def test_a_foreign_recorder_may_write_spaces_and_escapes(tmp_path: Path) -> None:
    path = write(tmp_path / "000001.jsonl", [], tool="another 1.0")
    fields = {"n": 1, "t": 0, "kind": "message", "type": "error", "session": "s1"}
    spaced = json.dumps(fields, separators=(" , ", " : "))
    escaped = spaced.replace("error", "err\\u006fr").replace(" 1,", " 2,")
    path.write_bytes(path.read_bytes() + f"{spaced}\n{escaped}\n".encode())
    with open_recording(path) as reader:
        assert len(list(choose(reader, Selection(types=("error",))))) == 2


@pytest.mark.parametrize("pattern", ["café", "caf[é]", "😀", "(é|è) 😀"])
def test_letters_beyond_ascii_are_found_as_they_are_and_as_escapes(
    tmp_path: Path, pattern: str
) -> None:
    texts = [
        json.dumps({"text": text}, ensure_ascii=as_escapes)
        for text in ("un café 😀", "a coffee")
        for as_escapes in (True, False)
    ]
    records = [Record(n=n, t=0, kind="message", data=text) for n, text in enumerate(texts, 1)]
    with open_recording(write(tmp_path / "000001.jsonl", records)) as reader:
        assert [each.n for each, _ in choose(reader, Selection(grep=pattern))] == [1, 2]


@pytest.mark.parametrize("tool", ["megabot 0.1.0", "another 1.0"])
@pytest.mark.parametrize("pattern", ["<", "<b>", '"text"', '"<b>', "b>here", "'"])
def test_what_json_writes_in_two_ways_is_found_in_either(
    tmp_path: Path, pattern: str, tool: str
) -> None:
    plain = json.dumps({"text": "<b>here's"})
    texts = [plain, plain.replace("<", "\\u003c").replace("'", "\\u0027"), '"b and here"']
    texts.append(plain.replace("<", "\\u003C").replace(">", "\\u003E"))
    records = [Record(n=n, t=0, kind="message", data=text) for n, text in enumerate(texts, 1)]
    with open_recording(write(tmp_path / "000001.jsonl", records, tool=tool)) as reader:
        assert [each.n for each, _ in choose(reader, Selection(grep=pattern))] == [1, 2, 4]


def test_a_torn_end_and_bad_lines_are_told_where_every_line_is_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path / "000001.jsonl", [Record(n=1, t=0, kind="message", type="a")])
    path.write_bytes(path.read_bytes() + b"nonsense\n" + b'{"n":2,"t":1,"ki')
    with open_recording(path) as reader:
        assert [record.n for record, _ in choose(reader, Selection())] == [1]
    assert reader.bad_lines == 1
    assert reader.torn_bytes == 16
    assert any("torn at byte" in warning for warning in reader.warnings)


ODD_LINES = [
    b'{"n":1,"t":0,"kind":"message","type":"a","data":"b"}',
    b'{"n":2,"t":1,"kind":"gap","lost":1}',
    b'{"n":3,"t":1,"kind":"mark","note":"b"}',
    b'{"n":9,"t":9,"kind":"end","records":1}',
    b'{"n":0,"t":0,"kind":"message"}',
    b'{"n":4,"t":-1,"kind":"message"}',
    b'{"n":5,"t":1,',
    b'"kind":"message"}',
    b'{"n":5,"t":1,"kind":"a"}{"n":6,"t":1,"kind":"a"}',
    b"",
    b" ",
    b"nonsense",
    b"\xff",
    b'\t{"n":7,"t":2,"kind":"message"}\r',
]


@given(lines=st.lists(st.sampled_from(ODD_LINES), max_size=8), newline=st.booleans())
@settings(deadline=None)
def test_many_at_a_time_are_what_they_are_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], newline: bool
) -> None:
    path = write(tmp_path_factory.mktemp("many") / "000001.jsonl", [])
    path.write_bytes(path.read_bytes() + b"\n".join(lines) + b"\n" * newline)
    wanted = Selection(kinds=MESSAGES_AND_LOSSES)
    with open_recording(path) as one:
        found = [record for record, _ in choose(one, wanted)]
    with open_recording(path) as many:
        blocks = list(choose_many(many, wanted))
    assert [record for block in blocks for record in block] == found
    assert many.bad_lines == one.bad_lines
    assert many.torn_bytes == one.torn_bytes
    assert many.warnings == one.warnings
    assert many.clean is one.clean
