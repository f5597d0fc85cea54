"""Recorded messages as they are sent now, each known to its lane before it leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping

from megabot_cli.client.ids import new_ids
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.rewriting import rewrite, stamps
from megabot_cli.replay.lane import Lane
from megabot_cli.replay.naming import Names
from megabot_cli.replay.recorded_message import ALWAYS_ANSWERED, RecordedMessage


class Renewal:
    """Makes messages new: with ids of this replay, unless `keep_ids`, and the time of now.

    `recorded` are the answers that came then, by place.
    """

    def __init__(self, names: Names, recorded: Mapping[int, Answer], *, keep_ids: bool) -> None:
        self._names = names
        self._recorded = recorded
        self._keep_ids = keep_ids

    def of(self, lane: Lane, message: RecordedMessage) -> str | bytes:
        """The message as it is sent now; its answer is waited for from here on."""
        text = message.text
        if isinstance(text, str) and not self._keep_ids:
            text = rewrite(text, self._names.of(message.client), time.time())
        head = peek(text) if isinstance(text, str) else None
        message_id = head.id if head is not None else None
        awaited = self._is_awaited(message)
        lane.sending(message.client, message.place, message_id, text, awaited=awaited)
        return text

    def of_all(self, lane: Lane, pack: list[RecordedMessage]) -> list[str | bytes]:
        """As `of` each, which are of one client; in a third of the time where they name nothing
        but themselves."""
        filled = [
            (message.template, text)
            for message in pack
            if message.template is not None and isinstance(text := message.text, str)
        ]
        recorded = [template.id_in(text) for template, text in filled]
        made = new_ids("msg", len(filled))
        ids = self._names.of(pack[0].client)
        if len(filled) < len(pack) or not ids.learn_all(recorded, made):
            return [self.of(lane, message) for message in pack]
        awaited = [message.place for message in pack if self._is_awaited(message)]
        lane.sending_plainly(pack[0].client, [message.place for message in pack], made, awaited)
        today = stamps(time.time())
        return [
            template.filled(text, now, today)
            for (template, text), now in zip(filled, made, strict=True)
        ]

    def _is_awaited(self, message: RecordedMessage) -> bool:
        """Whether an answer is to come before the replay is over, or its context said."""
        recorded = self._recorded.get(message.place)
        if recorded is None:  # context that was read without what came to it
            return message.type in ALWAYS_ANSWERED
        return (message.compared or message.context) and bool(recorded.parts)
