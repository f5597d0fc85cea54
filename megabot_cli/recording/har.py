"""WebSocket messages as HAR files hold them (`_webSocketMessages`), and back.

What HAR 1.2 has no field for stands under names that begin with `_`, as HAR allows; readers
that do not know them pass over them.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from megabot_cli.protocol.envelope import MILLISECONDS_FROM, UNREADABLE
from megabot_cli.recording.harmless_json import harmless
from megabot_cli.recording.record import LATEST_S, Record

MESSAGES: Final = "_webSocketMessages"
_DIRECTIONS: Final = {"send": "to_upstream", "receive": "to_client"}
_TYPES: Final = {direction: name for name, direction in _DIRECTIONS.items()}


class BadMessage(ValueError):
    """An element of `_webSocketMessages` that says nothing; the text says why."""


class HarMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One WebSocket message of a HAR file. `time` is Unix seconds.

    Chromium writes the first four; `error` is its word for a broken connection. The others
    are ours and optional; `n` keeps the order of messages of one microsecond, `encoding` is
    `base64` or, for the pseudonym of a binary message, `redacted`.
    """

    type: str
    time: float
    opcode: int = 1
    data: str = ""
    n: int | None = msgspec.field(default=None, name="_n")
    kind: str | None = msgspec.field(default=None, name="_kind")
    client: str | None = msgspec.field(default=None, name="_client")
    session: str | None = msgspec.field(default=None, name="_session")
    user: str | None = msgspec.field(default=None, name="_user")
    encoding: str | None = msgspec.field(default=None, name="_encoding")
    redacted: list[str] | None = msgspec.field(default=None, name="_redacted")
    note: str | None = msgspec.field(default=None, name="_note")

    @property
    def at_us(self) -> int:
        seconds = self.time / 1000 if self.time >= MILLISECONDS_FROM else self.time
        return round(seconds * 1e6)


class Written(HarMessage, kw_only=True, omit_defaults=True):
    """The same, to be written: the time to the microsecond, the opcode always."""

    time: msgspec.Raw  # type: ignore[assignment]
    opcode: int
    data: str


_decoder = msgspec.json.Decoder(HarMessage)


def decode_message(content: bytes) -> HarMessage:
    """Read one element. BadMessage when it is none."""
    try:
        message = _decoder.decode(content)
    except UNREADABLE as fault:
        raise BadMessage(str(fault)) from None
    if not 0 <= message.time <= LATEST_S * 1000:
        raise BadMessage("its time is none")
    if message.type not in _DIRECTIONS and message.type != "error":
        raise BadMessage("its type is neither send, receive nor error")
    return message


def as_record(message: HarMessage) -> tuple[Record, bytes | None]:
    """The message as a record, `n` and `t` still to be set, and its payload where it is binary."""
    if message.type == "error":
        return Record(n=1, t=0, kind="fault", note=message.data), None
    record = Record(
        n=1,
        t=0,
        kind="inject" if message.kind == "inject" else "message",
        direction=_DIRECTIONS[message.type],
        client=message.client,
        session=message.session,
        user=message.user,
        redacted=message.redacted,
        note=message.note,
    )
    payload: bytes | None = None
    record.opcode = "binary" if message.opcode == 2 else None
    if message.encoding == "base64" or (message.opcode == 2 and message.encoding is None):
        payload = _bytes_of(message.data)
    if payload is None:
        record.data, record.size = message.data, len(message.data.encode())
    else:
        record.data_b64, record.size = message.data, len(payload)
    return record, payload


def _bytes_of(data: str) -> bytes | None:
    """What base64 stands for; None for a pseudonym, which may stand in its place."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def encode_message(record: Record, at_us: int) -> bytes | None:
    """A record as an element of `_webSocketMessages`; None where it carries no message.

    `at_us` is when it travelled, in microseconds of Unix time.
    """
    data = record.data if record.data_b64 is None else record.data_b64
    if record.direction is None or data is None or record.kind not in ("message", "inject"):
        return None
    message = Written(
        type=_TYPES.get(record.direction, "receive"),
        time=msgspec.Raw(b"%d.%06d" % divmod(at_us, 1_000_000)),
        opcode=2 if record.opcode == "binary" else 1,
        data=data,
        n=record.n,
        kind=record.kind if record.kind != "message" else None,
        client=record.client,
        session=record.session,
        user=record.user,
        encoding=_encoding(record),
        redacted=record.redacted,
        note=record.note,
    )
    return harmless(msgspec.json.encode(message))


def _encoding(record: Record) -> str | None:
    """How `data` stands for the payload where its opcode does not say so by itself."""
    binary = record.opcode == "binary"
    if record.data_b64 is not None:
        return None if binary else "base64"
    return "redacted" if binary else None


class Connection(msgspec.Struct):
    """One connection, as its entry of a HAR file tells of it, in microseconds of Unix time."""

    url: str
    began_us: int
    ended_us: int
    link: str | None = None


def document_start(tool: str) -> bytes:
    name, _, version = tool.partition(" ")
    creator = msgspec.json.encode({"name": name, "version": version})
    return b'{"log":{"version":"1.2","creator":' + creator + b',"pages":[],"entries":['


def entry_start(connection: Connection) -> bytes:
    """An entry up to where its messages go, each after the first with a comma before it."""
    fields: dict[str, Any] = {
        "_resourceType": "websocket",
        "_link": connection.link,
        "cache": {},
        "request": {
            "method": "GET",
            "url": connection.url,
            "httpVersion": "HTTP/1.1",
            "headers": [],
            "queryString": [],
            "cookies": [],
            "headersSize": -1,
            "bodySize": 0,
        },
        "response": {
            "status": 101,
            "statusText": "Switching Protocols",
            "httpVersion": "HTTP/1.1",
            "headers": [],
            "cookies": [],
            "content": {"size": 0, "mimeType": "x-unknown"},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1,
        },
        "startedDateTime": iso_time(connection.began_us),
        "time": (connection.ended_us - connection.began_us) / 1000,
        "timings": {"send": 0, "wait": 0, "receive": 0},
    }
    if connection.link is None:
        del fields["_link"]
    return harmless(msgspec.json.encode(fields))[:-1] + b',"' + MESSAGES.encode() + b'":['


ENTRY_END: Final = b"\n]}"
DOCUMENT_END: Final = b"]}}\n"


def iso_time(at_us: int) -> str:
    """Microseconds of Unix time as RFC 3339 in UTC, in milliseconds, rounded down."""
    at = datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_us(stamp: str) -> int | None:
    """An ISO time as microseconds of Unix time; None for what is none."""
    try:
        at = datetime.fromisoformat(stamp)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        whole = int(at.replace(microsecond=0).timestamp())
    except (ValueError, OverflowError):
        return None
    return whole * 1_000_000 + at.microsecond if 0 <= whole <= LATEST_S else None
