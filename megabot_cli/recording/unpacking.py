"""Messages that travelled compressed are recorded as the text they are."""

from __future__ import annotations

from megabot_cli.errors import BadData
from megabot_cli.protocol.compression import Overlong, inflate, is_gzip
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.format_v1 import MAX_PAYLOAD_BYTES
from megabot_cli.recording.record import Record

NOTE = "travelled as gzip"


def unpack(record: Record, payload: bytes) -> bool:
    """Make a record of the text in a binary gzip message; False when it holds none.

    Of one that is longer than a record may be nothing is kept: what it holds is not known.
    `size` stays what travelled. Fields that only the text could tell are filled in.
    """
    if not is_gzip(payload):
        return False
    try:
        text = inflate(payload, MAX_PAYLOAD_BYTES).decode()
    except Overlong:
        record.data = record.data_b64 = None
        record.note = f"{NOTE}; unpacked, it is longer than a recording keeps"
        return True
    except (BadData, UnicodeDecodeError):
        return False
    record.opcode, record.data, record.data_b64 = None, text, None
    record.note = NOTE
    head = peek(text)
    if head is not None:
        record.id, record.type = record.id or head.id, record.type or head.type
        record.reply_to = record.reply_to or head.reply_to
        record.user = record.user or head.user_id
    return True
