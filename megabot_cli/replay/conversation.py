"""What a recording says was sent, and what came back to each message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing

import msgspec

from megabot_cli.recording.answers import Answer
from megabot_cli.recording.derived_header import HOLES
from megabot_cli.recording.record import Record
from megabot_cli.replay.lifetimes import Recorded
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.recorded_message import RecordedMark, RecordedMessage
from megabot_cli.replay.recorded_reading import Reading
from megabot_cli.replay.seeking import (
    records_from,
    who_came_before,
    with_lead,
)
from megabot_cli.replay.tool_calls import Call
from megabot_cli.storage.choosing import started_at_s
from megabot_cli.storage.kept_texts import KeptTexts
from megabot_cli.storage.record_reader import RecordReader


class Conversation(msgspec.Struct):
    """A recording, as a replay sees it: what to send, in order, and what was answered.

    Whoever has read it closes it, when nobody asks for the words of either any more.
    """

    messages: list[RecordedMessage]
    answers: dict[int, Answer]
    texts: KeptTexts
    upstream: str
    clean: bool
    warnings: list[str]
    marks: list[RecordedMark] = []
    lives: Recorded = msgspec.field(default_factory=Recorded)
    silent: dict[str, str] = {}  # clients that were there and send nothing, with their lane
    ids_clash: bool = False  # whether two clients used one id
    all_alone: bool = False  # whether no message that is sent names another, or shares its id
    unasked_calls: Mapping[str, list[Call]] = {}  # of tools, which named no message; by lane
    referred: frozenset[str] = frozenset()  # ids of the upstream's that are named in what is sent

    def close(self) -> None:
        self.texts.close()

    def to_send(self) -> list[RecordedMessage]:
        return [m for m in self.messages if m.held_back is None and m.place >= 0]

    def context(self) -> list[RecordedMessage]:
        """What is sent before anything else."""
        return [m for m in self.messages if m.place < 0 and m.held_back is None]

    def held_back(self) -> dict[str, int]:
        """How many messages are not sent, by the reason."""
        return dict(Counter(m.held_back for m in self.messages if m.held_back is not None))

    def lanes(self) -> dict[str, list[str]]:
        """The clients on each lane: in the order they came, or where that was not recorded,
        began to speak."""
        began: dict[tuple[str, str], int] = {}
        for message in (*self.context(), *self.to_send()):
            began.setdefault((message.lane, message.client), message.t)
        for client, lane in self.silent.items():
            began[lane, client] = self.lives.opened[client]
        found: dict[str, list[str]] = {}
        for lane, client in sorted(began, key=lambda who: self._came_at(who[1], began[who])):
            found.setdefault(lane, []).append(client)
        return found

    def _came_at(self, client: str, spoke_at: int) -> int:
        return min(spoke_at, self.lives.opened.get(client, spoke_at))


def read_conversation(
    reader: RecordReader, options: ReplayOptions, texts: KeptTexts | None = None
) -> Conversation:
    """Read a recording; what is wanted of it stays in memory, but for the words that `texts`
    keeps: they are closed with the conversation, or where there is none.

    What stands well before the place to begin at is passed over where that can be done; for
    `with_context` what the chosen lanes said there is then sought by itself, if it may hold no
    results of tool calls.
    """
    with ExitStack() as on_fault:
        texts = on_fault.enter_context(closing(texts or KeptTexts()))
        conversation = _read(reader, options, texts)
        on_fault.pop_all()
    return conversation


def _read(reader: RecordReader, options: ReplayOptions, texts: KeptTexts) -> Conversation:
    reading = Reading(options, started_at_s(reader), texts)
    # Which call a result in the context is for only what came before it tells.
    reads_all = options.with_context and options.allow_tools
    begin = None if reads_all else with_lead(reader, reading.chooser.begin)
    records: Iterable[Record] = reader
    if begin is not None and begin.kind == "number":
        for record in who_came_before(reader, int(begin.value)):
            reading.came_or_went(record, within=False)
    if begin is not None or reading.ends_early:
        records = records_from(reader, begin, reading.is_full, reading.concerns_chosen)
    for record in records:
        reading.take(record)
    reading.decide_all()
    reading.settle_context(reader if begin is not None else None)
    # What was cut out of a recording may lack the end of an answer as well.
    if not reader.clean or (reader.header is not None and HOLES in reader.header.labels):
        reading.break_off()
    reading.doubt_unanswered()
    return Conversation(
        messages=reading.messages,
        answers=reading.answers,
        texts=texts,
        upstream=reader.header.upstream if reader.header is not None else "",
        clean=reader.clean,
        warnings=[*reader.warnings, *reading.warnings()],
        marks=reading.told_marks(),
        lives=reading.lives,
        silent=reading.silent(),
        ids_clash=reading.ids_clash,
        all_alone=reading.all_alone,
        referred=reading.referred(),
        unasked_calls=reading.calls.unasked,
    )
