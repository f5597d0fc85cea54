"""What comes to the messages of a replay, noted in few words where it is what was recorded.

Most answers are whole, alone, and to the letter what was recorded. Of such a one only the time is
kept: no object is made of it, and nothing compared again, until somebody asks for it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from megabot_cli.protocol import flat
from megabot_cli.protocol.envelope import UNREADABLE
from megabot_cli.protocol.greeting import GREETING
from megabot_cli.recording.answers import UNASKED, Answer, Reply, decode_reply
from megabot_cli.recording.correlator import Correlator, may_name
from megabot_cli.replay.recorded_message import RecordedMessage

# What is more than one step of an answer, or nobody's, or says that no more will come.
_NOT_SIMPLE: Final = UNASKED | flat.ANSWERED_BY | {None, "batch", "chat_stream", GREETING}


class PlainAnswers:
    """The recorded answers that are one whole message each, which most are, and are compared: by
    the message's place their types, and hashes of their payloads as they were written. None: it
    is another.

    Of many answers each is far from the processor, and aside perhaps; what every reply is looked at
    for lies close together here. A hash has 64 bits, with a key that each process draws.
    """

    def __init__(self, messages: Iterable[RecordedMessage], recorded: Mapping[int, Answer]) -> None:
        count = max(recorded, default=-1) + 1
        self.types: list[str | None] = [None] * count
        self.hashes = array("q", bytes(8 * count))
        for message in messages:
            place = message.place
            if not message.compared or len(parts := recorded[place].parts) != 1:
                continue
            part = parts[0]
            if part.type not in _NOT_SIMPLE and (letters := part.letters()) is not None:
                self.types[place], self.hashes[place] = part.type, hash(letters)


class Arrivals(dict[int, Answer]):
    """The answers of a replay by their message's place; of every message that was sent, one is
    there when it is asked for.

    `recorded` are those that came then, `plain` the same in short. `as_recorded` says of which
    came the same, and when: seconds on the caller's clock.
    """

    def __init__(self, recorded: Mapping[int, Answer], plain: PlainAnswers) -> None:
        super().__init__()
        self.recorded = recorded
        self.plain = plain
        self.as_recorded: dict[int, float] = {}

    def __missing__(self, place: int) -> Answer:
        answer = self[place] = Answer()
        at = self.as_recorded.pop(place, None)
        if at is not None:
            then = self.recorded[place]
            answer.parts, answer.ended, answer.messages = then.parts[:], then.ended, 1
            answer.first_at = answer.last_at = at
        return answer


class Rejoining(Correlator):
    """Finds the messages that replies are for, quickly where both are simple."""

    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__(arrivals)
        self._arrivals = arrivals

    def sent_plainly(self, places: Sequence[int], ids: Sequence[str]) -> None:
        """As `sent` with each in turn, of messages, one at least, that have these ids, are no
        batches, and name nothing else."""
        self._waiting.extend(places)
        self._last = places[-1]
        self._by_id.update(zip(ids, places, strict=True))

    def take_as_recorded(
        self, texts: Iterator[bytes], seen: set[str], at: float
    ) -> tuple[list[int], tuple[bytes, Reply | None] | None]:
        """Take replies for as long as they are all that was recorded in answer to a message; return
        those messages' places.

        With them the first that is something else, or of which more than a look must tell: it is
        not taken. Its text, and where it can be read so, itself; None: that was all. `seen` are
        the ids of replies that came before, and grows.
        """
        arrivals, by_id, waiting = self._arrivals, self._by_id, self._waiting
        types, hashes = arrivals.plain.types, arrivals.plain.hashes
        as_recorded, shared, known = arrivals.as_recorded, self._shared, len(types)
        has_streamed = self._has_streamed()
        places: list[int] = []
        for text in texts:
            try:
                reply = decode_reply(text)
            except UNREADABLE:
                return places, (text, None)
            kind, metadata = reply.type, reply.metadata
            named = None if metadata is None else metadata.reply_to
            if named is not None:
                place = by_id.get(named)
                if place is None or named in shared:
                    return places, (text, reply)
            elif (
                self._by_key
                or has_streamed
                # Perhaps of one that no reply can name.
                or (kind == "connection_error" and self._nameless)
            ):
                return places, (text, reply)
            else:
                # One that was served stays: of a stream that begins there yet it gets the rest.
                while waiting and waiting[0] in as_recorded:
                    waiting.popleft()
                if not waiting:
                    return places, (text, reply)
                place = waiting[0]
            if (
                kind is None
                or not 0 <= place < known
                or types[place] != kind
                or hashes[place] != hash(bytes(reply.payload))
                or (name := reply.id) is None
                or name in seen
                or place in arrivals
                or place in as_recorded
                or (named is not None and may_name(reply.payload))
            ):
                return places, (text, reply)
            if named is None:
                self._served = place
                has_streamed = False
            seen.add(name)
            as_recorded[place] = at
            places.append(place)
        return places, None

    def _has_streamed(self) -> bool:
        """Whether the message that was served last got a stream, which may be said again."""
        answer = None if self._served is None else self._arrivals.get(self._served)
        return answer is not None and bool(answer.parts) and answer.parts[-1].stream is not None
