"""Recorded messages as they are sent now, each known to its lane before it leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping

from megabot_cli.client.ids import new_ids
from megabot_cli.protocol.envelope import peek
from megabot_cli.recording.answers import Answer
from megabot_cli.recording.rewriting import Template, filled_all, rewrite
from megabot_cli.replay.arrivals import PlainAnswers
from megabot_cli.replay.lane import Lane
from megabot_cli.replay.naming import Names
from megabot_cli.replay.recorded_message import ALWAYS_ANSWERED, RecordedMessage


class Renewal:
    """Makes messages new: with ids of this replay, unless `keep_ids`, and the time of now.

    `recorded` are the answers that came then, by place, `plain` most of them in short. Where
    messages are `all_alone`, none names another: then nobody need know which id stands for which.
    """

    def __init__(
        self,
        names: Names,
        recorded: Mapping[int, Answer],
        plain: PlainAnswers,
        *,
        keep_ids: bool,
        all_alone: bool,
    ) -> None:
        self._names = names
        self._plain = plain
        self._all_alone = all_alone
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
            (template, text)
            for message in pack
            if (template := message.template) is not None
            # Most are here, and not aside: to ask would be a call for each.
            and (type(text := message.said) is str or type(text := message.text) is str)
        ]
        made = new_ids("msg", len(filled))
        if len(filled) < len(pack) or not (self._all_alone or self._learnt(pack, filled, made)):
            return [self.of(lane, message) for message in pack]
        answered_by = self._plain.types
        awaited = [
            message.place
            for message in pack
            if answered_by[message.place] is not None or self._is_awaited(message)
        ]
        lane.sending_plainly(pack[0].client, [message.place for message in pack], made, awaited)
        return filled_all(filled, made, time.time())

    def _learnt(
        self, pack: list[RecordedMessage], filled: list[tuple[Template, str]], made: list[str]
    ) -> bool:
        recorded = [text[template.start : template.end] for template, text in filled]
        return self._names.of(pack[0].client).learn_all(recorded, made)

    def _is_awaited(self, message: RecordedMessage) -> bool:
        """Whether an answer is to come before the replay is over, or its context said."""
        recorded = self._recorded.get(message.place)
        if recorded is None:  # context that was read without what came to it
            return message.type in ALWAYS_ANSWERED and not message.broken_off
        awaited = not message.broken_off if message.context else message.compared
        return awaited and bool(recorded.parts)
