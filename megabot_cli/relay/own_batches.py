"""The batches that the relay makes of what waits, and whom a refusal of one concerns."""

from __future__ import annotations

import time
from collections import OrderedDict

import msgspec

from megabot_cli.client.ids import new_id
from megabot_cli.protocol.batching import wrap
from megabot_cli.protocol.envelope import Envelope, open_envelope
from megabot_cli.relay.upstream_queue import Waiting

MOST_REMEMBERED = 1000


class OwnBatches:
    """Clients do not know their ids: which messages the newest ones hold is remembered."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, list[str]] = OrderedDict()  # batch → messages in it

    def make(self, together: list[Waiting]) -> Waiting:
        """One message of several, each text exactly as it was."""
        batch_id = new_id("msg")
        text = wrap([each.data.decode() for each in together], batch_id, time.time())
        self._made[batch_id] = [each.message_id for each in together if each.message_id is not None]
        if len(self._made) > MOST_REMEMBERED:
            self._made.popitem(last=False)
        return Waiting("", None, text.encode(), False, together[0].at, inner=tuple(together))

    def refused(self, batch_id: str | None, refusal: bytes) -> list[bytes]:
        """The upstream's refusal of a batch of ours as one of each message in it; none where it is
        of anything else."""
        messages = self._made.get(batch_id or "")
        envelope = open_envelope(refusal) if messages else None
        if messages is None or envelope is None:
            return []
        del self._made[batch_id or ""]
        return [_to(message_id, envelope) for message_id in messages]


def _to(message_id: str, refusal: Envelope) -> bytes:
    metadata = {**(refusal.metadata or {}), "reply_to": message_id}
    return msgspec.json.encode(
        msgspec.structs.replace(refusal, id=new_id("msg"), metadata=metadata)
    )
