"""A HAR file that Chromium 156 wrote, by the code behind its network panel. Never rewritten.

The page logged in by POST, then talked over a WebSocket; a secret that begins with `canary`
stands in the URL, a request header, a cookie, a set cookie, the body, a message sent and one
received.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from megabot_cli.recording.format_v1 import encode_record
from megabot_cli.recording.record import Record
from megabot_cli.storage.converting import write_bare, write_har, write_whole
from megabot_cli.storage.foreign import open_any

CHROMIUM = Path(__file__).parent / "har" / "chromium_156.har"
SHA256 = "8f06a9b809db7f0565df7c6bc6bf8a6d77f8823436ceb85f1f538d9f63af756d"


def test_the_golden_har_is_as_it_was() -> None:
    assert hashlib.sha256(CHROMIUM.read_bytes()).hexdigest() == SHA256


def test_a_har_of_chromium_opens_as_records() -> None:
    with open_any(CHROMIUM) as reader:
        records = list(reader)
    assert (reader.clean, reader.warnings) == (True, [])
    assert reader.header is not None
    assert reader.header.upstream == "ws://127.0.0.1:40841/ws"
    assert reader.header.started_at == "2026-11-23T22:40:08.747Z"
    assert [(record.kind, record.direction, record.type, record.opcode) for record in records] == [
        ("open", None, None, None),
        ("message", "to_upstream", "chat_send", None),
        ("message", "to_client", "connection_established", None),
        ("message", "to_client", "tool_call", None),
        ("message", "to_client", "tool_result", None),
        ("message", "to_client", "chat_stream", None),
        ("message", "to_client", "chat_stream", None),
        ("message", "to_client", "chat_stream", None),
        ("message", "to_client", "chat_receive", None),
        ("message", "to_upstream", "chat_send", None),
        ("message", "to_upstream", None, "binary"),
        ("message", "to_client", None, "binary"),
        ("message", "to_client", "chat_receive", None),
    ]
    assert records[1].data == (
        '{"id":"msg_1","type":"chat_send","payload":{"content":"Grüße 😀, what is the weather?"},'
        '"timestamp":1795473608.759,"metadata":{"user_id":"ada"}}'
    )
    # Chromium wrote 1795473608.759702 for what began at 22:40:08.747.
    assert (records[1].t, records[-1].t) == (12_702, 159_426)
    assert [record.payload() for record in records[10:12]] == [b"\0\1\2\xfe\xff", bytes(range(8))]


@pytest.mark.parametrize("form", ["har", "jsonl", "recording"])
def test_no_secret_of_the_har_is_in_what_is_made_of_it(form: str) -> None:
    assert b"canary" in CHROMIUM.read_bytes()
    output = io.BytesIO()
    with open_any(CHROMIUM) as reader:
        if form == "har":
            write_har(reader, reader.lines(), output.write)
        elif form == "jsonl":
            write_bare(reader.lines(), output.write)
        else:
            write_whole(reader, output.write, bool)
    assert b"Welcome." in output.getvalue()
    assert b"canary" not in output.getvalue()


def test_the_golden_har_keeps_every_message_on_its_way_there_and_back(tmp_path: Path) -> None:
    back = tmp_path / "back.har"
    with open_any(CHROMIUM) as reader, back.open("wb") as file:
        write_har(reader, reader.lines(), file.write)

    def messages(path: Path) -> list[bytes]:
        with open_any(path) as reader:
            started_at = reader.header.started_at if reader.header is not None else ""
            assert started_at == "2026-11-23T22:40:08.747Z"
            return [encode_record(_plain(each)) for each in reader if each.kind == "message"]

    def _plain(record: Record) -> Record:
        record.size = None  # of what was redacted it is another one
        return record

    first, second = messages(CHROMIUM), messages(back)
    # The secrets have other pseudonyms in the file that was never converted.
    assert [line for line in first if b"redacted" not in line] == [
        line for line in second if b"redacted" not in line
    ]
    assert len(first) == len(second) == 12
