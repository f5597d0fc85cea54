"""HAR files and bare messages are read as records; what is hostile ends in clear words."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megabot_cli.errors import BadData, NotFound, WrongUsage
from megabot_cli.recording.har import unix_us
from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection
from megabot_cli.storage import line_source
from megabot_cli.storage.choosing import choose
from megabot_cli.storage.converting import (
    write_bare,
    write_har,
    write_pytest,
    write_transcript,
    write_whole,
)
from megabot_cli.storage.foreign import form_of, open_any
from megabot_cli.storage.more_secrets import MoreSecrets
from megabot_cli.storage.record_reader import SourceReader
from tests.recording.arbitrary import CANARY, planted_texts, records, thorough
from tests.storage.conftest import marks, segment_bytes


def message(n: int, text: str = "", **fields: Any) -> Record:
    text = text or f'{{"id":"m{n}","type":"chat_send","payload":{{"content":"no {n}"}}}}'
    return Record(
        n=n, t=n * 1001, kind="message", direction="to_upstream", link="link_a", data=text, **fields
    )


def har(*entries: list[Any], **outer: Any) -> bytes:
    made = [
        {
            "_webSocketMessages": messages,
            "request": {"url": f"wss://api.example/{place}?token=hush"},
            "startedDateTime": "2026-11-23T04:12:09.000Z",
        }
        for place, messages in enumerate(entries)
    ]
    return json.dumps({"log": {"entries": made, **outer}}).encode()


def sent(at_s: float, data: str, **more: Any) -> dict[str, Any]:
    return {"type": "send", "time": 1795407129 + at_s, "opcode": 1, "data": data, **more}


def read_all(path: Path, content: bytes, **options: Any) -> tuple[list[Record], SourceReader]:
    path.write_bytes(content)
    with open_any(path, **options) as reader:
        return list(reader), reader


def test_a_recording_cut_at_any_byte_converts_up_to_there(tmp_path: Path) -> None:
    texts = [message(n) for n in range(1, 6)]
    whole = segment_bytes(texts)
    begin = whole.index(b"\n") + 1
    for end in range(begin, len(whole)):
        (tmp_path / "x").write_bytes(whole[:end])
        lines = converted(tmp_path / "x", "jsonl").decode().splitlines()
        assert lines == [each.data for each in texts[: len(lines)]]
        assert len(lines) >= whole[:end].count(b"\n") - 1


def converted(source: Path, form: str) -> bytes:
    output = io.BytesIO()
    with open_any(source) as reader:
        if form == "har":
            write_har(reader, reader.lines(), output.write)
        elif form == "jsonl":
            write_bare(reader.lines(), output.write)
        elif form == "markdown":
            write_transcript(reader, reader.lines(), output.write)
        elif form == "pytest":
            write_pytest(reader, reader.lines(), output.write, "exact", allow_tools=True)
        else:
            write_whole(reader, output.write, bool)
    return output.getvalue()


# -- HAR ------------------------------------------------------------------------------------


def test_the_messages_of_all_connections_come_in_order_of_time(tmp_path: Path) -> None:
    content = har(
        [sent(0.1, "a1"), sent(0.3, "a2"), sent(0.5, "a3")], [sent(0.2, "b1"), sent(0.4, "b2")]
    )
    found, _ = read_all(tmp_path / "x.har", content)
    assert [record.data for record in found if record.kind == "message"] == [
        "a1", "b1", "a2", "b2", "a3",
    ]  # fmt: skip
    assert [record.n for record in found] == list(range(1, 8))
    assert found[2].t == 100_000
    assert {(record.client, record.link) for record in found} == {
        ("client_1", "link_1"),
        ("client_2", "link_2"),
    }


def test_a_clock_that_goes_back_in_a_har_keeps_the_order(tmp_path: Path) -> None:
    found, _ = read_all(tmp_path / "x.har", har([sent(5, "first"), sent(1, "second")]))
    assert [(record.data, record.t) for record in found[1:]] == [
        ("first", 5_000_000),
        ("second", 5_000_000),
    ]


def test_the_query_of_a_url_is_not_kept(tmp_path: Path) -> None:
    _, reader = read_all(tmp_path / "x.har", har([sent(1, "x")]))
    assert reader.header is not None
    assert reader.header.upstream == "wss://api.example/0"


def test_the_operators_own_secrets_are_redacted_too(tmp_path: Path) -> None:
    path = tmp_path / "x.har"
    secrets = MoreSecrets(["badge"], [r"K-\d+"])
    found, _ = read_all(path, har([sent(1, '{"badge":"007","x":"K-42"}')]), secrets=secrets)
    assert '"007"' not in (found[1].data or "")
    assert "K-42" not in (found[1].data or "")
    assert found[1].redacted == ["$.badge", "$.x"]


def test_a_pattern_of_the_operator_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="no regular expression"):
        read_all(tmp_path / "x.har", har([]), secrets=MoreSecrets((), ["("]))


@pytest.mark.parametrize(
    "odd",
    [
        5, "x", None, [], {}, {"type": "send"}, {"type": "up", "time": 1, "data": ""},
        {"type": "send", "time": "now", "data": "x"}, {"type": "send", "time": -1, "data": "x"},
        {"type": "send", "time": 1e300, "data": "x"}, {"type": "send", "time": 1, "data": {}},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_message_is_counted_and_left_out(tmp_path: Path, odd: Any) -> None:
    found, reader = read_all(tmp_path / "x.har", har([sent(1, "a"), odd, sent(2, "b")]))
    assert [record.data for record in found[1:]] == ["a", "b"]
    assert reader.bad_lines == 1
    assert "is no message" in reader.warnings[0]
    assert not reader.clean


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"log":' + b"[" * 5000, "nested deeper than 200"),
        (b'{"log":{"entries":5}}', "holds no WebSocket messages"),
        (b'{"log":{"entries":[5,[],{"_webSocketMessages":5}]}}', "holds no WebSocket messages"),
        (b'{"log":{"entries":[}', "is no JSON at byte 19"),
        (b'{"log":' + b"1" * 900_000 + b"}", "is no JSON"),
    ],
)
def test_a_hostile_har_ends_in_clear_words(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(BadData, match=says):
        read_all(tmp_path / "x.har", content, strict=True)


def test_paths_in_a_har_lead_nowhere(tmp_path: Path) -> None:
    content = har([sent(1, "x")]).replace(b"wss://api.example/0", b"../../../etc/passwd\\u0000")
    found, _ = read_all(tmp_path / "x.har", content)
    assert len(found) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.har"]


@pytest.mark.parametrize("lost_bytes", [1, 3, 40, 150, 190])
def test_a_torn_har_gives_what_came_before(tmp_path: Path, lost_bytes: int) -> None:
    whole = har([sent(1, "a"), sent(2, "b"), sent(3, "c")])
    found, reader = read_all(tmp_path / "x.har", whole[:-lost_bytes])
    said = [record.data for record in found if record.kind == "message"]
    assert said == ["a", "b", "c"][: len(said)]
    assert said
    assert "torn at byte" in reader.warnings[0]
    assert not reader.clean


def test_a_har_may_come_compressed(tmp_path: Path) -> None:
    found, _ = read_all(tmp_path / "x.har.gz", gzip.compress(har([sent(1, "x")])))
    assert [record.data for record in found] == [None, "x"]


# -- bare messages --------------------------------------------------------------------------

ASKED = '{"id":"1","type":"chat_send","payload":{"content":"?"},"timestamp":1795407129.5}'
ANSWERED = '{"id":"2","type":"chat_receive","payload":{"content":"!"},"timestamp":1795407130250}'
CALLED = (
    '{"id":"3","type":"tool_call","payload":{"tool_name":"t","parameters":{},"execution_id":"e"},'
    '"metadata":{"reply_to":"1"}}'
)
GAVE = '{"id":"4","type":"tool_result","payload":{"execution_id":"e","status":"ok"}}'


def test_a_har_that_never_ends_is_not_kept_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_source, "ENDLESS_BYTES", 1024 * 1024)
    path = tmp_path / "x.har.gz"
    path.write_bytes(gzip.compress(b'{"log":{"entries":[' + b" " * 2 * 1024 * 1024, 1))
    with pytest.raises(BadData, match=r"x\.har\.gz does not end within"):
        open_any(path)


def test_bare_messages_tell_their_direction_and_time(tmp_path: Path) -> None:
    content = "\n".join([ASKED, ANSWERED, CALLED, "", GAVE]).encode()
    found, reader = read_all(tmp_path / "x.jsonl", content)
    assert reader.header is not None
    assert reader.header.started_at == "2026-11-23T04:12:09.500Z"
    assert [(record.direction, record.id, record.t) for record in found] == [
        ("to_upstream", "1", 0),
        ("to_client", "2", 750_000),
        ("to_client", "3", 750_000),
        ("to_upstream", "4", 750_000),
    ]
    assert [record.data for record in found] == [ASKED, ANSWERED, CALLED, GAVE]


def test_messages_without_a_time_go_at_once_and_what_has_one_counts_from_the_first(
    tmp_path: Path,
) -> None:
    content = "\n".join([CALLED, ASKED, GAVE, ANSWERED]).encode()
    found, reader = read_all(tmp_path / "x.jsonl", content)
    assert reader.header is not None
    assert reader.header.started_at == ""
    assert [record.t for record in found] == [0, 0, 0, 750_000]


def test_a_line_that_is_no_message_is_counted_and_skipped(tmp_path: Path) -> None:
    content = f"{ASKED}\n17\nnonsense\n{ANSWERED}\n".encode()
    found, reader = read_all(tmp_path / "x.jsonl", content)
    assert [record.id for record in found] == ["1", "2"]
    assert reader.bad_lines == 2


def test_a_torn_bare_message_is_dropped_with_a_warning(tmp_path: Path) -> None:
    found, reader = read_all(tmp_path / "x.jsonl", f"{ASKED}\n{ANSWERED[:30]}".encode())
    assert [record.id for record in found] == ["1"]
    assert "torn at byte" in reader.warnings[0]


# -- which is which -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "form"),
    [
        (b'{"format":"megabot-recording","version":"1.0"', "recording"),
        (b'{"n":5,"t":1,"kind":"message"}', "recording"),
        (b'\n {\n  "log": {', "har"),
        (b'\xef\xbb\xbf{"log":{', "har"),
        (b'{"id":"1","type":"x"}', "jsonl"),
        (b'"plain text"\n', "jsonl"),
        (b'"long text', "jsonl"),
        (b'{"id":"1","type', "jsonl"),
        (b'"""A docstring."""\n', "recording"),
        (b'{\n  "a": 1', "recording"),
        (b"", "recording"),
        (b"\x00\x01", "recording"),
    ],
)
def test_a_file_is_known_by_how_it_begins(start: bytes, form: str) -> None:
    assert form_of(start) == form


def test_a_recording_opens_as_before(tmp_path: Path) -> None:
    folder = tmp_path / "rec_1"
    folder.mkdir()
    found, reader = read_all(folder / "000001.jsonl.part", segment_bytes(marks(3)) + b'{"n":')
    assert [record.n for record in found] == [1, 2, 3]
    assert "torn at byte" in reader.warnings[0]
    with open_any(folder) as whole:
        assert [record.n for record, _ in choose(whole, Selection(limit=2))] == [1, 2]
        assert whole.header_line.startswith(b'{"format"')


@pytest.mark.parametrize("content", [b"hello\n", b"\x89PNG\r\n", b"[1]\n", b"<html>"])
def test_what_holds_no_messages_is_told_in_clear_words(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadData, match="neither a recording, nor a HAR file, nor messages"):
        read_all(tmp_path / "x", content)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_any(tmp_path / "x.har")
    with pytest.raises(NotFound):
        open_any(tmp_path)


# -- there and back -------------------------------------------------------------------------


def said(source: Path) -> Iterator[tuple[Any, ...]]:
    """What every message said, and when, in microseconds of Unix time."""
    with open_any(source) as reader:
        started_us = unix_us(reader.header.started_at) if reader.header is not None else None
        assert started_us is not None
        for record in reader:
            payload = record.payload()
            if record.kind in ("message", "inject") and payload is not None:
                yield record.kind, record.direction, payload, started_us + record.t


@settings(thorough, max_examples=50)
@given(st.lists(records, min_size=1, max_size=4))
def test_any_message_keeps_text_direction_order_and_time_through_a_har(
    tmp_path_factory: pytest.TempPathFactory, some: list[Record]
) -> None:
    folder = tmp_path_factory.mktemp("har")
    t = 0
    for n, record in enumerate(some, 1):
        t += record.t % 10_000_000
        record.n, record.t = n, t
        record.kind = "message" if n % 2 else "inject"
        record.direction = record.direction or "to_client"
        record.redacted = None
        if record.data is not None:
            record.data_b64 = None
        if record.data_b64 is not None:
            record.opcode = "binary"
    (folder / "x.jsonl").write_bytes(segment_bytes(some))
    (folder / "x.har").write_bytes(converted(folder / "x.jsonl", "har"))
    recorded = list(said(folder / "x.jsonl"))
    if not recorded:
        return
    (folder / "back.jsonl").write_bytes(converted(folder / "x.har", "recording"))
    assert list(said(folder / "back.jsonl")) == recorded


def test_any_text_is_kept_through_bare_messages(tmp_path: Path) -> None:
    texts = [
        ASKED, "plain text", '"quoted"', '{"pretty":\n  1}', "{broken", "", "[1]", "\u2028 \x00 é",
        '{"id":"\\ud800"}', '{"a":1}\r', " {}",
    ]  # fmt: skip
    recorded = [message(n, text) for n, text in enumerate(texts, 1)]
    (tmp_path / "x").write_bytes(segment_bytes(recorded))
    lines = converted(tmp_path / "x", "jsonl")
    assert len(lines.splitlines()) == lines.count(b"\n")
    found, _ = read_all(tmp_path / "y", lines)
    assert [record.data for record in found] == [record.data for record in recorded]


@settings(thorough, max_examples=60)
@given(st.lists(planted_texts, min_size=1, max_size=3), st.booleans())
def test_a_secret_in_any_message_of_a_foreign_file_is_in_no_byte_of_any_output(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], bare: bool
) -> None:
    source = tmp_path_factory.mktemp("canary") / "x"
    if bare:
        source.write_bytes(b"".join(json.dumps(text).encode() + b"\n" for text in texts))
    else:
        source.write_bytes(har([sent(n, text) for n, text in enumerate(texts)]))
    assert CANARY.encode() in source.read_bytes()
    for form in ("har", "jsonl", "recording", "markdown", "pytest"):
        with contextlib.suppress(WrongUsage):  # there may be no request among them
            assert CANARY.encode() not in converted(source, form)


@pytest.mark.parametrize("form", ["har", "jsonl"])
@pytest.mark.parametrize("cut", range(3, 24, 5))
def test_a_secret_that_streams_in_pieces_goes_from_all_of_them(
    tmp_path: Path, form: str, cut: int
) -> None:
    secret = "sk-live-ABCDEFGHIJKLMNOPQRSTUV"
    texts = [
        json.dumps({"id": f"c{n}", "type": "chat_stream", "metadata": {"reply_to": "m1"},
                    "payload": {"chunk": piece, "sequence": n, "is_complete": n == 2}})
        for n, piece in enumerate((f"it is {secret[:cut]}", f"{secret[cut:]}."), 1)
    ]  # fmt: skip
    came = [{**sent(n, text), "type": "receive"} for n, text in enumerate(texts)]
    content = har(came) if form == "har" else "\n".join(texts).encode()
    found, _ = read_all(tmp_path / f"x.{form}", content)
    said = "".join(
        json.loads(each.data)["payload"]["chunk"] for each in found if each.data is not None
    )
    assert secret[:cut] not in said
    assert secret[cut:] not in said
    assert said.startswith("it is ‹redacted:")
    assert {str(each.redacted) for each in found if each.data} == {"['$.payload.chunk']"}


def test_what_is_shown_while_it_comes_is_not_held_back(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    text = '{"id":"c1","type":"chat_stream","payload":{"chunk":"a","sequence":1}}\n'
    os.write(writing, text.encode())
    with open_any(Path(f"/dev/fd/{reading}"), "jsonl", at_once=True) as reader:
        assert next(iter(reader)).id == "c1"  # though more may come
    os.close(writing)
    os.close(reading)


def test_memory_does_not_grow_with_a_har(tmp_path: Path) -> None:
    def peak_bytes(count: int) -> int:
        path = tmp_path / f"{count}.har"
        path.write_bytes(har([sent(n / 1000, "x" * 300) for n in range(count)]))
        tracemalloc.start()
        try:
            with open_any(path) as reader:
                assert sum(1 for _ in reader.lines()) == count + 1
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(100)
    assert peak_bytes(20_000) < 2 * peak_bytes(2_000)
