"""Which recorded id is which one in this replay."""

from __future__ import annotations

from collections.abc import Sequence

from megabot_cli.client.ids import new_id
from megabot_cli.protocol.ids import Prefix
from megabot_cli.recording.rewriting import IdMap


class Names:
    """`common` is what everybody may refer to. Where two clients used one id (`apart`), each has
    a map of its own: what they said are two messages, and a reference means the client's own."""

    def __init__(self, *, apart: bool) -> None:
        self.common = IdMap(new_id)
        self._apart = apart
        self._by_client: dict[str, IdMap] = {}

    def of(self, client: str) -> IdMap:
        if not self._apart:
            return self.common
        if client not in self._by_client:
            self._by_client[client] = _OwnIds(self.common)
        return self._by_client[client]


class _OwnIds(IdMap):
    """The ids of one client; others may refer to them where they mean nothing else."""

    def __init__(self, common: IdMap) -> None:
        super().__init__(new_id, common)
        self._common = common

    def fresh(self, recorded: str, prefix: Prefix) -> str:
        now = super().fresh(recorded, prefix)
        self._common.offer(recorded, now)
        return now

    def learn_all(self, recorded: Sequence[str], now: Sequence[str]) -> bool:
        learnt = super().learn_all(recorded, now)
        if learnt:
            for pair in zip(recorded, now, strict=True):
                self._common.offer(*pair)
        return learnt
