from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.errors import BadData
from megabot_cli.recording.format_v1 import (
    BadLine,
    End,
    Header,
    decode_block,
    decode_header,
    decode_line,
    encode_end,
    encode_header,
    encode_record,
    glance,
)
from megabot_cli.recording.record import Record, as_fields
from tests.recording.arbitrary import records, thorough

HEADER = Header(recording="rec_1", started_at="2026-11-23T04:12:09.123456Z", tool="megabot 0")


@thorough
@given(records)
def test_any_record_round_trips_through_its_line(record: Record) -> None:
    assert decode_line(encode_record(record)) == record


@thorough
@given(records)
def test_a_record_is_one_line_with_its_keys_in_the_order_of_the_format(record: Record) -> None:
    line = encode_record(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert list(json.loads(line)) == list(as_fields(record))


def test_the_header_stands_as_the_format_shows_it() -> None:
    assert encode_header(HEADER) == (
        b'{"format":"megabot-recording","version":"1.0","recording":"rec_1","segment":1,'
        b'"previous":null,"started_at":"2026-11-23T04:12:09.123456Z","clock":"monotonic",'
        b'"tool":"megabot 0","upstream":"","redaction":"","labels":{}}\n'
    )
    assert decode_header(encode_header(HEADER)) == HEADER


def test_an_end_names_its_kind_third() -> None:
    line = encode_end(End(n=3, t=9, records=2, counts={"mark": 2}, sha256="00"))
    assert list(json.loads(line))[:4] == ["n", "t", "kind", "records"]
    assert decode_line(line) == End(n=3, t=9, records=2, counts={"mark": 2}, sha256="00")


def test_a_newer_minor_version_reads_with_keys_and_kinds_we_do_not_know() -> None:
    header = encode_header(HEADER).replace(b'"1.0"', b'"1.7","later":[1]')
    assert decode_header(header).version == "1.7"
    record = decode_line(b'{"n":1,"t":2,"kind":"later","later":{"a":[1]},"note":"x"}')
    assert record == Record(n=1, t=2, kind="later", note="x")


def test_a_newer_major_version_is_refused_with_what_to_install() -> None:
    with pytest.raises(BadData) as refused:
        decode_header(encode_header(HEADER).replace(b'"1.0"', b'"2.0"'))
    assert "2.0" in refused.value.message
    assert "version 2" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[1]", b'{"format":"har","version":"1.0","recording":"x"}', b"\xff\n"]
)
def test_what_is_no_header_is_refused(line: bytes) -> None:
    with pytest.raises(BadData):
        decode_header(line)


@thorough
@given(st.binary(max_size=60) | records.map(encode_record).map(lambda line: line[:-2]))
def test_any_other_bytes_are_a_bad_line_and_nothing_worse(line: bytes) -> None:
    with pytest.raises(BadLine):
        decode_line(line)


def test_a_line_ten_thousand_deep_is_a_bad_line() -> None:
    with pytest.raises(BadLine):
        decode_line(b'{"n":1,"t":1,"kind":"x","deep":' + b"[" * 10_000)


def test_the_payload_of_a_record_is_what_travelled() -> None:
    assert Record(n=1, t=0, kind="message", data="{}").payload() == "{}"
    assert Record(n=1, t=0, kind="message", data_b64="/w==").payload() == b"\xff"
    assert Record(n=1, t=0, kind="message", data_b64="?").payload() is None
    assert Record(n=1, t=0, kind="mark").payload() is None


@pytest.mark.parametrize(
    "odd", [{"t": 3 * 10**17}, {"t": 10**400}, {"n": 2**60}, {"size": 10**400}, {"lost": -1}]
)
def test_a_number_beyond_all_reason_makes_a_bad_line(odd: dict[str, int]) -> None:
    line = json.dumps({"n": 1, "t": 0, "kind": "message", **odd}).encode()
    with pytest.raises(BadLine):
        decode_line(line)
    assert decode_block(line + b"\n") is None
    assert glance(("type",), lambda _: False)(line) or "size" in odd or "lost" in odd


@pytest.mark.parametrize("year", ["0001", "1969", "3000", "9999"])
def test_a_beginning_that_nobody_can_reckon_with_is_not_known(year: str) -> None:
    line = encode_header(Header(recording="rec_1", started_at=f"{year}-12-31T23:59:59Z"))
    assert decode_header(line).started_at == ""
