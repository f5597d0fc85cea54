"""Requests that were handed to the link, which has not written them yet."""

from __future__ import annotations

from collections import Counter

from megabot_cli.relay.upstream_queue import Waiting


class NotWritten:
    """By kind, and, where answers must tell their askers (`keeps_ids`), by id."""

    def __init__(self, *, keeps_ids: bool) -> None:
        self._keeps_ids = keeps_ids
        self._kinds: Counter[str] = Counter()
        self.clients: dict[str, str] = {}  # by message id; asked for each message

    def has_kind(self, kind: str) -> bool:
        return self._kinds[kind] > 0

    def add(self, waiting: Waiting) -> None:
        for each in waiting.inner or (waiting,):
            if each.kind is not None:
                self._kinds[each.kind] += 1
                if self._keeps_ids and each.message_id is not None:
                    self.clients[each.message_id] = each.client

    def remove(self, waiting: Waiting) -> None:
        for each in waiting.inner or (waiting,):
            if each.kind is not None:
                self._kinds[each.kind] -= 1
                if self._keeps_ids and each.message_id is not None:
                    self.clients.pop(each.message_id, None)
