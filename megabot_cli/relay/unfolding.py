"""What a message holds that is folded: text in gzip, messages in a batch."""

from __future__ import annotations

from megabot_cli.errors import BadData
from megabot_cli.protocol.batching import unwrap
from megabot_cli.protocol.compression import inflate, is_gzip
from megabot_cli.recording.format_v1 import MAX_PAYLOAD_BYTES


def text_within(data: bytes, most_bytes: int) -> bytes | None:
    """The text that a binary message holds as gzip; None where it holds none, or more than
    `most_bytes` (0: than a record may hold)."""
    if not is_gzip(data):
        return None
    try:
        return inflate(data, most_bytes or MAX_PAYLOAD_BYTES)
    except BadData:
        return None


def messages_within(text: bytes) -> list[bytes]:
    """The exact texts of a batch; none where it has not the form of one."""
    return [each.encode() for each in unwrap(text)]
