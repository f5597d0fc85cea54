"""What comes on a connection of our own is a record like a relay's."""

from __future__ import annotations

import aiohttp
import pytest

from megabot_cli.client.wire_form import WireForm
from megabot_cli.commands.arrived import record_of
from megabot_cli.protocol.compression import compress

TEXT = b'{"id":"m","type":"note","payload":{},"metadata":{"reply_to":"q"}}'


@pytest.mark.parametrize(
    ("kind", "data", "note"),
    [
        (aiohttp.WSMsgType.TEXT, TEXT, None),
        (aiohttp.WSMsgType.BINARY, compress(TEXT), "travelled as gzip"),
    ],
    ids=["text", "gzip"],
)
def test_it_is_kept_as_text_and_says_how_it_travelled(
    kind: aiohttp.WSMsgType, data: bytes, note: str | None
) -> None:
    received = WireForm().incoming(kind, data)
    assert received is not None
    record = record_of(received, 1, 0, "sess_1")
    assert (record.data, record.opcode, record.note) == (TEXT.decode(), None, note)
    assert (record.id, record.reply_to, record.session) == ("m", "q", "sess_1")
    assert record.size == len(data)


def test_what_is_binary_stays_so() -> None:
    received = WireForm().incoming(aiohttp.WSMsgType.BINARY, b"\0")
    assert received is not None
    record = record_of(received, 1, 0, None)
    assert (record.data, record.opcode, record.note) == (None, "binary", None)
