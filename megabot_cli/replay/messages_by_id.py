"""Recorded messages by the ids that their clients gave them."""

from __future__ import annotations

from collections.abc import Iterator, Set

from megabot_cli.replay.recorded_message import RecordedMessage


class MessagesById:
    """`clash`: whether two clients used one id; `repeats`: whether anybody used one again. An id
    that is one message's alone costs no list."""

    def __init__(self) -> None:
        self._found: dict[str, RecordedMessage | list[RecordedMessage]] = {}
        self.clash = False
        self.repeats = False

    def add(self, message_id: str, message: RecordedMessage) -> None:
        before = self._found.setdefault(message_id, message)
        if before is message:
            return
        self.repeats = True
        if isinstance(before, RecordedMessage):
            before = self._found[message_id] = [before]
        self.clash = self.clash or before[0].client != message.client
        before.append(message)

    @property
    def ids(self) -> Set[str]:
        return self._found.keys()

    def newest(self, message_id: str) -> Iterator[RecordedMessage]:
        """Those with that id that are chosen, the newest first."""
        found = self._found.get(message_id, [])
        for message in [found] if isinstance(found, RecordedMessage) else reversed(found):
            if not message.context:
                yield message
