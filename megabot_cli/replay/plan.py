"""What a replay would do, without doing it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from megabot_cli.protocol.envelope import wire_size
from megabot_cli.recording.pace import capped_offsets_s
from megabot_cli.replay.conversation import Conversation, read_conversation
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.storage.segment_reader import RecordingReader


class ReplayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much would be sent, by whom, how long it would take, and what would be held back.

    `duration_s` is None at a pace that the upstream decides. `redacted` counts messages in
    which a pseudonym stands for what was sent when recording.
    """

    upstream: str
    messages: int
    bytes: int
    clients: int
    lanes: int
    by_type: dict[str, int]
    pace: Pace
    speed: float
    duration_s: float | None
    held_back: dict[str, int]
    redacted: int
    answers: int
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    def lines(self) -> list[str]:
        """The plan for people."""
        duration = "as quickly as the upstream takes it"
        if self.duration_s is not None:
            duration = f"{self.duration_s:.1f} s, at {self.speed:g} × the recorded pace"
        kinds = ", ".join(f"{count} {name}" for name, count in self.by_type.items())
        lines = [
            f"would send   {self.messages} messages, {self.bytes} bytes: {kinds or 'none'}",
            f"as           {self.clients} clients in {self.lanes} sessions",
            f"recorded at  {self.upstream}",
            f"takes        {duration}",
            f"answers      {self.answers} recorded, to compare with",
        ]
        lines += [f"held back    {count}: {why}" for why, count in self.held_back.items()]
        if self.redacted:
            lines.append(f"redacted     {self.redacted} go out with pseudonyms for their secrets")
        return lines + [f"note         {warning}" for warning in self.warnings]


def make_plan(reader: RecordingReader, options: ReplayOptions) -> ReplayPlan:
    """Read the recording and say what `play` would do with it."""
    return plan_of(read_conversation(reader, options), options)


def plan_of(conversation: Conversation, options: ReplayOptions) -> ReplayPlan:
    messages = conversation.to_send()
    lanes = conversation.lanes()
    offsets = capped_offsets_s([message.t for message in messages], options.max_gap_s)
    duration_s = (offsets[-1] if offsets else 0.0) / options.speed
    by_type = Counter(message.type or "(no envelope)" for message in messages)
    return ReplayPlan(
        upstream=conversation.upstream,
        messages=len(messages),
        bytes=sum(wire_size(message.text) for message in messages),
        clients=sum(len(clients) for clients in lanes.values()),
        lanes=len(lanes),
        by_type=dict(by_type.most_common()),
        pace=options.pace,
        speed=options.speed,
        duration_s=duration_s if options.pace == "original" else None,
        held_back=conversation.held_back(),
        redacted=sum(message.redacted for message in messages),
        answers=sum(
            message.compared and bool(conversation.answers[message.place].parts)
            for message in messages
        ),
        warnings=conversation.warnings,
    )
