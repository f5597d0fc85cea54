"""Reading a recording for a replay: what is chosen of it, and what came to that."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from functools import partial
from sys import intern
from typing import Final

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.recording.answers import Answer, Part, payload_of
from megabot_cli.recording.correlator import Correlator
from megabot_cli.recording.flat_greetings import FlatGreetings
from megabot_cli.recording.record import Record
from megabot_cli.recording.rewriting import Template, referred_in, template_of
from megabot_cli.replay.lifetimes import Present, Recorded
from megabot_cli.replay.messages_by_id import MessagesById
from megabot_cli.replay.options import ReplayOptions
from megabot_cli.replay.recorded_message import ALWAYS_ANSWERED, RecordedMark, RecordedMessage
from megabot_cli.replay.seeking import (
    lane_of,
    said_before,
)
from megabot_cli.replay.tool_calls import RecordedCalls, why_not_sent
from megabot_cli.storage.choosing import warnings_of
from megabot_cli.storage.kept_texts import KeptTexts
from megabot_cli.storage.record_reader import RecordReader
from megabot_cli.wording import counted

# Who hung up sooner than that after its question cannot say that no answer came.
_PATIENCE_US: Final = 60_000_000


class Reading:
    """What has been read so far."""

    def __init__(self, options: ReplayOptions, began_at_s: float, texts: KeptTexts) -> None:
        self._texts = texts
        self.messages: list[RecordedMessage] = []
        self.marks: list[RecordedMark] = []
        self._earlier: list[RecordedMessage] = []
        self._begun: dict[str, int] = {}  # lanes, and the number of what was first chosen of each
        self.answers: dict[int, Answer] = {}
        self.lanes = defaultdict[str, Correlator](partial(Correlator, self.answers))
        self._taken = 0
        self._options = options
        wanted = options.selection
        self.chooser = (wanted if wanted.asks_for_events else wanted.of_messages()).chooser(
            began_at_s
        )
        self._undecided: deque[tuple[Record, bool]] = deque()  # and whether within the bounds
        self._beside: set[int] = set()  # those of them that are chosen, by `id()`
        self._by_id = MessagesById()
        self._speakers: set[str | None] = set()
        self._templates: dict[Template, Template] = {}
        self._to_send = 0
        self._lost = 0
        self.lives = Recorded()
        self._present = Present(options.selection)
        self._wordless = 0  # chosen, and kept without what it said
        self._open: list[RecordedMessage] = []  # sent since the last loss
        self._newest: dict[str, int] = {}  # whose answer grew last, by lane
        self.calls = RecordedCalls()
        self._referred: set[str] = set()
        self._all_alone = True
        # When the connection of a lane was closed; of a lane that is `_kept`, the one upstream.
        self._closed_at: defaultdict[str, list[int]] = defaultdict(list)
        self._without_result: set[int | None] = set()
        self._kept: set[str] = set()  # while clients come and go
        self._greetings = FlatGreetings()

    def take(self, record: Record) -> None:
        """Take the next record. Whether it stands beside a chosen one (`--around`) is known a few
        records later: so long it waits."""
        shown = self.chooser.offer(record)
        within = self.chooser.is_within
        if not self._options.selection.around:
            self._decided(record, wanted=bool(shown), within=within)
            return
        self._beside.update(id(each) for each, _ in shown)
        self._undecided.append((record, within))
        if self.chooser.finished:
            self.decide_all()
            return
        oldest = self.chooser.undecided
        while self._undecided and self._undecided[0][0] is not oldest:
            self._decide_oldest()

    def decide_all(self) -> None:
        """Nothing that comes now changes what is chosen."""
        while self._undecided:
            self._decide_oldest()

    def _decide_oldest(self) -> None:
        record, within = self._undecided.popleft()
        wanted = id(record) in self._beside
        self._beside.discard(id(record))
        self._decided(record, wanted=wanted, within=within)

    def _decided(self, record: Record, *, wanted: bool, within: bool) -> None:
        self._taken += 1
        if record.kind == "gap":
            self._lost += record.lost or 0
            self._doubt_what_is_open()
        if record.kind == "open":
            self._greetings.opened(record)
        if record.kind in ("open", "close"):
            self.came_or_went(record, within=within)
        if record.kind == "mark" and within:
            self.marks.append(RecordedMark(record.n, record.t, record.note or ""))
        if record.kind not in ("message", "inject"):
            return
        payload = record.payload()
        if payload is None:
            self._wordless += wanted and record.direction == "to_upstream"
            return
        if record.direction == "to_upstream":
            self._sent(record, payload, wanted=wanted)
        elif record.kind == "inject":
            self._told_by_the_relay(record)
        elif not self._greetings.is_one(record):
            lane = lane_of(record)
            grown = self.lanes[lane].came(payload, record.t / 1e6, client=record.client)
            for place, _ in grown:
                self._newest[lane] = place
            self.calls.came(lane, record.t, record.type, payload, grown)
            for _, part in grown:
                self._put_aside(part, len(payload))

    def _put_aside(self, part: Part, size: int) -> None:
        if part.stream is not None:
            if not part.is_whole:
                return
            size = len(part.stream.text)
        if self._texts.is_due(size):
            part.put_aside(self._texts)

    def came_or_went(self, record: Record, *, within: bool) -> None:
        lane = lane_of(record)
        if record.client is None and record.kind == "open":
            self._kept.add(lane)
        if record.kind == "close" and (record.client is None or lane not in self._kept):
            self._closed_at[lane].append(record.t)
        if record.client is None:
            return
        self.lives.take(record.kind, record.client, record.t)
        if not self.is_full():
            self._present.take(record, lane, begun=within)

    def _sent(self, record: Record, payload: str | bytes, *, wanted: bool) -> None:
        place = len(self.messages)
        lane = lane_of(record)
        self._speakers.add(record.client)
        if not wanted or self._has_all():
            # Its answers are still its own, and nobody else's.
            place = -self._taken
        self.lanes[lane].sent(place, record.id, payload, record.client)
        call = self.calls.answered_by(record.type, payload)
        if call is not None and (place < 0 or why_not_sent(payload, self._options)):
            self._without_result.add(call.place)
        if place < 0:
            if self._options.with_context and lane not in self._begun:
                self._earlier.append(self._message(record, payload, place))
            return
        message = self._message(record, payload, place)
        self._to_send += message.held_back is None
        self.messages.append(message)
        self._open.append(message)
        self._begun.setdefault(lane, record.n)

    def _message(self, record: Record, payload: str | bytes, place: int) -> RecordedMessage:
        client = record.client or record.link or "client"
        held_back = why_not_sent(payload, self._options)
        sent_anew = held_back is None and not self._options.keep_ids
        text = payload if sent_anew and isinstance(payload, str) else None
        template = template_of(text) if text is not None else None
        if text is not None and template is None:
            self._referred |= referred_in(text)
        if held_back is None and (
            text is None or template is None or record.id != text[template.start : template.end]
        ):
            self._all_alone = False
        if template is not None:
            template = self._templates.setdefault(template, template)
        # Of so many messages, the same few names: each stands in memory once.
        message = RecordedMessage(
            place=place,
            n=record.n,
            t=record.t,
            client=intern(client),
            lane=intern(lane_of(record)),
            session=record.session and intern(record.session),
            type=record.type and intern(record.type),
            named=record.id is not None,
            said=payload,
            redacted=bool(record.redacted),
            held_back=held_back,
            template=template,
            compared=place >= 0,
            call=self.calls.answered_by(record.type, payload),
        )
        if record.id is not None:
            self._by_id.add(record.id, message)
        if self._texts.is_due(len(payload)):
            message.put_aside(self._texts)
        return message

    @property
    def ids_clash(self) -> bool:
        return self._by_id.clash

    @property
    def all_alone(self) -> bool:
        """Whether nothing that is sent names another message, or has an id in common with one."""
        return self._all_alone and not self._by_id.repeats

    def referred(self) -> frozenset[str]:
        """Ids that clients named and that are not those of their own messages."""
        return frozenset(self._referred - self._by_id.ids)

    def settle_context(self, passed_over: RecordReader | None) -> None:
        """What a lane said before the first message chosen of it is its context.

        `passed_over` is the recording, where not all of that has been taken.
        """
        if passed_over is None:
            self.messages[:0] = [each for each in self._earlier if each.lane in self._begun]
            return
        if not self._options.with_context:
            return
        context = []
        for record in said_before(passed_over, self._begun):
            payload = record.payload()
            if payload is not None:
                # No answer to it is looked at: its place only tells it from the others.
                self._taken += 1
                context.append(self._message(record, payload, -self._taken))
        _doubt_tools(context)
        self.messages[:0] = context

    def silent(self) -> dict[str, str]:
        """Clients that came before the last message is sent, and send none themselves."""
        sent = [each for each in self.messages if each.held_back is None]
        last = max((each.t for each in sent if not each.context), default=0)
        lanes = {each.lane for each in sent}
        found = self._present.besides({each.client for each in sent}, lanes)
        return {who: lane for who, lane in found.items() if self.lives.opened[who] <= last}

    @property
    def ends_early(self) -> bool:
        """Whether all may be chosen before the recording ends."""
        return self._options.limit is not None or self._options.selection.until is not None

    def is_full(self) -> bool:
        """Whether nothing more can be chosen: then it is only about what answers it."""
        return self.chooser.finished or self._has_all()

    def concerns_chosen(self, record: Record) -> bool:
        """Whether a record may tell what came to something chosen, told by whose it is.

        What names another request does not, and need not be decoded.
        """
        if record.kind in ("mark", "gap"):
            return True
        lane = lane_of(record)
        if lane not in self._begun:
            return False
        if record.direction == "to_upstream" or record.reply_to is None:
            return True
        place = self.lanes[lane].place_of(record.reply_to)
        return place is not None and place >= 0

    def break_off(self) -> None:
        """The recording does not know what would still have come."""
        newest = set(self._newest.values())
        for message in self.messages:
            if message.context:
                continue
            answer = self.answers[message.place]
            if not answer.parts:
                message.compared = False
            elif not answer.ended or message.place in newest:
                message.broken_off = True

    def doubt_unanswered(self) -> None:
        """The flat dialect answers everything: where no answer was recorded, the connection ended
        first, or the message never left. Else that is taken for so where the connection was
        closed soon after; of an answer that had begun the end may be missing then."""
        for message in self.messages:
            if message.place in self._without_result:  # what follows a result that is not sent
                message.compared, message.broken_off = False, message.context
            if message.context or message.type not in ALWAYS_ANSWERED | {"batch"}:
                continue
            answer = self.answers[message.place]
            last_at = message.t if answer.last_at is None else int(answer.last_at * 1e6)
            closed = self._closed_at[message.lane]
            came_next = bisect_left(closed, last_at)
            soon = came_next < len(closed) and closed[came_next] < last_at + _PATIENCE_US
            is_flat = not message.named and message.type in flat.ANSWERS
            if not (is_flat or soon):
                continue
            if not answer.parts:
                message.compared = False
            elif not is_flat and not self.lanes[message.lane].has_ended(message.place):
                message.broken_off = True

    def warnings(self) -> list[str]:
        """What whoever replays should know of the recording."""
        found = []
        if self._lost:
            lost = f"{counted(self._lost, 'record')} could not be written down when it was recorded"
            found.append(f"{lost}: answers under way then are not compared")
        if self._wordless:
            one = self._wordless == 1
            words = "what it said was" if one else "their words were"
            found.append(f"{counted(self._wordless, 'message')} cannot be sent: {words} left out")
        return [*found, *warnings_of(self.chooser)]

    def told_marks(self) -> list[RecordedMark]:
        """The marks among what was chosen: within its bounds, and where other words chose too,
        between the first message and the last."""
        bounds_only = msgspec.structs.replace(
            self._options.selection, begin=None, until=None, from_us=None, until_us=None
        )
        if bounds_only.everything and self._options.limit is None:
            return self.marks
        chosen = [message.n for message in self.messages if not message.context]
        if not chosen:
            return []
        return [mark for mark in self.marks if chosen[0] < mark.n < chosen[-1]]

    def _doubt_what_is_open(self) -> None:
        """Something was lost: nobody knows whether it was of an answer under way."""
        for message in self._open:
            answer = self.answers[message.place]
            streamed = bool(answer.parts) and answer.parts[-1].stream is not None
            if not (answer.ended or (streamed and answer.is_whole)):
                message.compared = False
        self._open.clear()

    def _has_all(self) -> bool:
        return self._options.limit is not None and self._to_send >= self._options.limit

    def _told_by_the_relay(self, record: Record) -> None:
        """The relay's own word on a message: it never left, or nobody knows whether it did."""
        name = record.reply_to or ""
        said = list(self._by_id.newest(name))
        message = next((each for each in said if each.client == record.client), None)
        if message is None and record.client not in self._speakers:  # told when it came back
            lane = lane_of(record)
            message = next((each for each in said if each.lane == lane), None)
        if message is None or record.type != "connection_error":
            return
        payload = payload_of(record.data or "")
        error = payload.get("error") if isinstance(payload, dict) else None
        if error == "delivery_unknown":
            message.compared = False
        elif message.held_back is None:
            message.held_back = "refused by the relay when it was recorded"


def _doubt_tools(context: list[RecordedMessage]) -> None:
    """What is answered only after a tool's result, which is not sent, is not answered.

    By the order: which call a result is for (`_without_result`) only what came would tell, and
    of a context that is read by itself nothing of that is read.
    """
    asked: dict[str, RecordedMessage] = {}
    for message in context:
        if message.held_back is None:
            asked[message.lane] = message
        elif message.type == "tool_result" and message.lane in asked:
            asked[message.lane].broken_off = True
