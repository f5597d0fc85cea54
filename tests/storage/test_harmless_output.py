"""What we write out of names that others gave is harmless to look at, and the same."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.recording.format_v1 import Header, encode_header, encode_record
from megabot_cli.recording.harmless_json import harmless
from megabot_cli.recording.record import Record
from megabot_cli.storage.converting import write_har, write_part
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.merging import merge

STEERING = "\x9b\u202e\x7f\u2066"
BEGAN = "2026-11-23T04:12:09.123456Z"


@pytest.mark.parametrize("make", ["cut", "merge", "har"])
def test_what_others_named_steers_no_terminal_from_what_is_made(tmp_path: Path, make: str) -> None:
    header = Header(recording=f"rec{STEERING}", started_at=BEGAN, upstream=f"wss://x/{STEERING}")
    header.labels[STEERING] = STEERING
    record = Record(
        n=1, t=1, kind="message", direction="to_client", link=STEERING, client=STEERING, data="{}"
    )
    source = tmp_path / "x.jsonl"
    source.write_bytes(encode_header(header) + encode_record(record))
    output = io.BytesIO()
    with open_any(source) as reader:
        if make == "cut":
            write_part(reader, reader.lines(), output.write, "cut")
        elif make == "merge":
            merge([reader], ["x"], output.write)
        else:
            write_har(reader, reader.lines(), output.write)
    made = output.getvalue().decode()
    head = made if make == "har" else made.partition("\n")[0]
    assert not set(head) & set(STEERING)
    assert r"\u009b\u202e\u007f\u2066" in head


@given(st.text() | st.text(STEERING + "\\u009"))
def test_any_json_stays_the_same(text: str) -> None:
    made = harmless(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    assert json.loads(made) == text
    assert not set(made.decode()) & set(STEERING)
