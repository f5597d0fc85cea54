"""What comes on a connection of our own, as the record that a relay would have made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from megabot_cli.client.received import Received
    from megabot_cli.recording.record import Record


def record_of(received: Received, number: int, offset_us: int, session_id: str | None) -> Record:
    """`session_id` is that of the connection, for a message that names none."""
    from base64 import b64encode

    from megabot_cli.protocol.envelope import wire_size
    from megabot_cli.recording.record import Record
    from megabot_cli.recording.unpacking import NOTE

    head, text = received.head, received.text
    is_text = isinstance(text, str)
    return Record(
        n=number,
        t=offset_us,
        kind="message",
        direction="to_client",
        session=(head.session_id if head else None) or session_id,
        user=head.user_id if head else None,
        id=head.id if head else None,
        type=head.type if head else None,
        reply_to=head.reply_to if head else None,
        opcode=None if is_text else "binary",
        size=wire_size(text if received.packed is None else received.packed),
        data=text if isinstance(text, str) else None,
        data_b64=None if isinstance(text, str) else b64encode(text).decode(),
        note=NOTE if received.folded else None,
    )
