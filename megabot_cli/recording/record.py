"""One record: one thing that happened on the wire, with the keys in the order of the format."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final

import msgspec

KINDS: Final = (
    "open",
    "auth",
    "message",
    "ping",
    "pong",
    "close",
    "drop",
    "gap",
    "inject",
    "mark",
    "fault",
    "end",
)
"""The kinds of version 1.0. A later minor version may add some: unknown ones are kept."""

LATEST_S: Final = 32_503_680_000
"""Unix time of the year 3000. What is said to have happened later has no time that one can use:
dates and clocks end not far behind it."""

_LONGEST_US: Final = 1000 * 366 * 86_400 * 1_000_000

# A recording is untrusted input: bounded, so that nothing that is computed with them overflows.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=_LONGEST_US)]


class Record(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What one line says. A field that is None is not known and not written.

    `n` counts from 1 through the whole recording; `t` is microseconds since the
    recording's `started_at` and never goes back, a thousand years at most. `size` is the
    payload's bytes on the wire before anything was redacted.
    """

    n: Number
    t: Offset
    kind: str
    direction: str | None = None
    client: str | None = None
    link: str | None = None
    session: str | None = None
    user: str | None = None
    id: str | None = None
    type: str | None = None
    reply_to: str | None = None
    opcode: str | None = None
    size: Count | None = None
    data: str | None = None
    data_b64: str | None = None
    redacted: list[str] | None = None
    code: Count | None = None
    reason: str | None = None
    by: str | None = None
    note: str | None = None
    lost: Count | None = None
    lost_bytes: Count | None = None

    def payload(self) -> str | bytes | None:
        """What travelled: text as str, binary as bytes, None when the record carries none.

        A binary payload that was redacted is the str that stands for it.
        """
        if self.data_b64 is None:
            return self.data
        try:
            return base64.b64decode(self.data_b64, validate=True)
        except (binascii.Error, ValueError):
            return None


class MessageLine(msgspec.Struct, omit_defaults=True, gc=False):
    """A `Record` of a plain text message, made by place: the recorder makes one per message.

    The names and their order are those of `Record`; a test holds the two together.
    """

    n: int
    t: int
    kind: str
    direction: str | None = None
    client: str | None = None
    link: str | None = None
    session: str | None = None
    user: str | None = None
    id: str | None = None
    type: str | None = None
    reply_to: str | None = None
    opcode: str | None = None
    size: int | None = None
    data: str | None = None


def as_fields(record: Record) -> dict[str, Any]:
    """The record as a dict of what is known, in the order of the format."""
    return {
        name: value
        for name in record.__struct_fields__
        if (value := getattr(record, name)) is not None
    }
