"""What a replay would do, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from megabot_cli.protocol.envelope import wire_size
from megabot_cli.recording.pace import capped_offsets_s
from megabot_cli.replay.conversation import Conversation, read_conversation
from megabot_cli.replay.options import Pace, ReplayOptions
from megabot_cli.storage.record_reader import RecordReader
from megabot_cli.wording import counted

_PACES = {
    "reply": "as long as the answers do, and the recorded pauses after them",
    "step": "as long as somebody takes to let each message go",
}


def offsets_s(times_us: Sequence[int], options: ReplayOptions) -> list[float]:
    """When each message is due, in seconds of the replay's own time."""
    if options.pace == "fixed":
        return [place * options.speed / options.per_s for place in range(len(times_us))]
    return capped_offsets_s(times_us, options.max_gap_s)


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
        duration = _PACES.get(self.pace, "as quickly as the upstream takes it")
        if self.duration_s is not None:
            pace = f"at {self.speed:g} × the recorded pace"
            duration = f"{self.duration_s:.1f} s, {'evenly' if self.pace == 'fixed' else pace}"
        kinds = ", ".join(f"{count} {name}" for name, count in self.by_type.items())
        lines = [
            f"would send   {counted(self.messages, 'message')}, {counted(self.bytes, 'byte')}: "
            f"{kinds or 'none'}",
            f"as           {counted(self.clients, 'client')} in {counted(self.lanes, 'session')}",
            f"recorded at  {self.upstream}",
            f"takes        {duration}",
            f"answers      {self.answers} recorded, to compare with",
        ]
        lines += [f"held back    {count}: {why}" for why, count in self.held_back.items()]
        if self.redacted:
            lines.append(f"redacted     {self.redacted} go out with pseudonyms for their secrets")
        return lines + [f"note         {warning}" for warning in self.warnings]


def make_plan(reader: RecordReader, options: ReplayOptions) -> ReplayPlan:
    """Read the recording and say what `play` would do with it."""
    return plan_of(read_conversation(reader, options), options)


def plan_of(conversation: Conversation, options: ReplayOptions) -> ReplayPlan:
    messages = conversation.to_send()
    lanes = conversation.lanes()
    offsets = offsets_s([message.t for message in messages], options)
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
        duration_s=duration_s if options.pace in ("original", "fixed") else None,
        held_back=conversation.held_back(),
        redacted=sum(message.redacted for message in messages),
        answers=sum(
            message.compared and bool(conversation.answers[message.place].parts)
            for message in messages
        ),
        warnings=conversation.warnings,
    )
