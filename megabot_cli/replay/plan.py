"""What a replay would do, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
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

    All is about one round; there are `rounds` of it, 0 for rounds without end. `context` are
    the messages sent before, `silent` those of the clients that send none. `duration_s` is None
    at a pace that the upstream decides.
    `redacted` counts messages in which a pseudonym stands for what was sent when recording.
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
    rounds: int = 1
    context: int = 0
    silent: int = 0

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    def lines(self) -> list[str]:
        """The plan for people."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.by_type.items())
        lines = [
            f"would send   {counted(self.messages, 'message')}, {counted(self.bytes, 'byte')}: "
            f"{kinds or 'none'}",
            f"as           {counted(self.clients, 'client')} in {counted(self.lanes, 'session')}"
            + (f", {self.silent} of them silent" if self.silent else ""),
            *((f"recorded at  {self.upstream}",) if self.upstream else ()),
            f"takes        {self._duration()}",
            f"answers      {self.answers} recorded, to compare with",
        ]
        if self.context:
            before = counted(self.context, "message")
            lines.insert(1, f"after        {before} of context, and what is answered to them")
        if self.rounds != 1:
            lines.insert(1, f"rounds       {self._in_all()}")
        lines += [f"held back    {count}: {why}" for why, count in self.held_back.items()]
        if self.redacted:
            lines.append(f"redacted     {self.redacted} go out with pseudonyms for their secrets")
        return lines + [f"note         {warning}" for warning in self.warnings]

    def _in_all(self) -> str:
        if not self.rounds:
            return "without end, until somebody stops it"
        every = (self.messages + self.context) * self.rounds
        return f"{self.rounds}, {counted(every, 'message')} in all"

    def _duration(self) -> str:
        if self.duration_s is None:
            said = _PACES.get(self.pace, "as quickly as the upstream takes it")
        else:
            pace = f"at {self.speed:g} × the recorded pace"
            said = f"{self.duration_s * max(self.rounds, 1):.1f} s"
            said += " each round" if not self.rounds else ""
            said += f", {'evenly' if self.pace == 'fixed' else pace}"
        return said


def make_plan(reader: RecordReader, options: ReplayOptions, rounds: int = 1) -> ReplayPlan:
    """Read the recording and say what `play` would do with it."""
    with closing(read_conversation(reader, options)) as conversation:
        return plan_of(conversation, options, rounds)


def plan_of(conversation: Conversation, options: ReplayOptions, rounds: int = 1) -> ReplayPlan:
    messages, context = conversation.to_send(), conversation.context()
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
        redacted=sum(message.redacted for message in (*context, *messages)),
        answers=sum(
            message.compared and bool(conversation.answers[message.place].parts)
            for message in messages
        ),
        warnings=conversation.warnings,
        rounds=rounds,
        context=len(context),
        silent=len(conversation.silent),
    )
