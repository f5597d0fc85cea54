"""`compression=gzip`: long text messages travel as binary messages that hold gzip of the text.

Both ends accept either form. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import gzip
import zlib

from megabot_cli.errors import BadData

THRESHOLD_BYTES = 1024  # below this compressing costs more than it saves
LEVEL = 3

_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31  # zlib's way to say: gzip, with a window of 32 KiB
_MOST_MEMBERS = 64


class Overlong(BadData):
    """What comes out is longer than a message may be."""


def compress(text: bytes) -> bytes:
    """The gzip of a message's text; the same bytes for the same text."""
    return gzip.compress(text, LEVEL, mtime=0)


def is_gzip(data: bytes) -> bool:
    """Whether a binary message says that it is gzip."""
    return data.startswith(_MAGIC)


def beginning(data: bytes, most_bytes: int) -> bytes:
    """So much of the text in a gzip message, however long it is; nothing of what is no gzip."""
    try:
        return zlib.decompressobj(_GZIP_WBITS).decompress(data, most_bytes)
    except zlib.error:
        return b""


def inflate(data: bytes, most_bytes: int) -> bytes:
    """The text in a gzip message; at most `most_bytes` are ever produced, 0 is no limit.

    Raises `Overlong` as soon as there is more, and `BadData` for what is no gzip, is cut
    off, or is followed by something else.
    """
    pieces: list[bytes] = []
    size = 0
    for _ in range(_MOST_MEMBERS):
        member = zlib.decompressobj(_GZIP_WBITS)
        room = most_bytes - size + 1 if most_bytes else 0
        try:
            piece = member.decompress(data, room)
        except zlib.error as fault:
            raise BadData(f"the message is not gzip: {fault}") from fault
        pieces.append(piece)
        size += len(piece)
        if most_bytes and size > most_bytes:
            raise Overlong(f"uncompressed, the message has more than {most_bytes} bytes")
        if not member.eof:
            raise BadData("the gzip in the message is cut off")
        data = member.unused_data
        if not data:
            return b"".join(pieces)
    raise BadData(f"the message holds more than {_MOST_MEMBERS} pieces of gzip")
