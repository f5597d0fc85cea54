"""What a replay knows of a conversation before time counts."""

from __future__ import annotations

from collections import defaultdict

from megabot_cli.replay.arrivals import PlainAnswers
from megabot_cli.replay.conversation import Conversation
from megabot_cli.replay.judging import RecordedTimes
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.plan import offsets_s
from megabot_cli.replay.recorded_message import RecordedMessage


class Script:
    """Found out once for all rounds: of 600 000 messages each of these takes a tenth of a second,
    and what grows with them is not looked through for garbage if that is frozen from here on.

    `by_client` has the messages by lane and client; `offsets` says when each leaves, by place in
    seconds, where time decides that, and `last_offset` the latest. `some_unanswered`: something
    may come to a message to which nothing came then.
    """

    def __init__(self, conversation: Conversation, options: ReplayOptions) -> None:
        self.messages = conversation.to_send()
        places = [message.place for message in self.messages]
        self.is_timed = options.pace != "fast"
        offsets = offsets_s([m.t for m in self.messages], options) if self.is_timed else []
        self.offsets = dict(zip(places, offsets, strict=self.is_timed))
        self.last_offset = max(offsets, default=0.0)
        self.some_unanswered = any(not conversation.answers[place].parts for place in places)
        self.by_client: defaultdict[tuple[str, str], list[RecordedMessage]] = defaultdict(list)
        for message in self.messages:
            self.by_client[message.lane, message.client].append(message)
        self.times = RecordedTimes(self.messages, conversation.answers)
        self.plain = PlainAnswers(self.messages, conversation.answers)
