"""A recording that answers in the assistant's place: who gets which part of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import structlog

from megabot_cli.gateway.forwarding import NewUpstream
from megabot_cli.gateway.recorded_connection import RecordedConnection
from megabot_cli.gateway.recorded_session import RecordedSession
from megabot_cli.protocol.envelope import Head
from megabot_cli.recording.exchanges import Exchanges
from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.pace import Pacing
from megabot_cli.storage.served_recording import ServedRecording

Miss = Literal["error", "close", "echo", "forward"]
Found = tuple[frozenset[str], bytes]

log = structlog.get_logger()


class Tally(msgspec.Struct):
    """What was served so far."""

    clients: int = 0
    matched: int = 0
    missed: int = 0


class RecordedAnswers:
    """What a gateway answers when it answers from a recording.

    `likeness` must be the one that the recording was opened with. `closes` replays recorded
    closes too. `new_upstream` makes a client that is not open yet, for `forward`.
    """

    def __init__(
        self,
        recording: ServedRecording,
        likeness: Likeness,
        *,
        pacing: Pacing = Pacing(),  # noqa: B008  a frozen value
        miss: Miss = "error",
        closes: bool = False,
        new_upstream: NewUpstream | None = None,
    ) -> None:
        self.pacing = pacing
        self.miss = miss
        self.closes = closes
        self.new_upstream = new_upstream
        self.tally = Tally()
        self.payloads = recording.payloads
        self._likeness = likeness
        self._claims = [0] * len(recording.exchanges.lanes)
        self.exchanges: Exchanges = recording.exchanges

    def session(self, *given: Any) -> RecordedSession:
        """A session that answers from here; takes what a `Session` takes."""
        return RecordedSession(self, *given)

    def connection(self, *given: Any, **more: Any) -> RecordedConnection:
        """A connection of such a session; takes what a `Connection` takes."""
        self.tally.clients += 1
        return RecordedConnection(self, *given, **more)

    def alike(self, head: Head | None, text: str | bytes) -> tuple[Found, list[int]] | None:
        """The recorded exchanges that began with a request like this, in their order."""
        message_type = head.type if head is not None else None
        for wild in self.exchanges.wilds.get(message_type, ()):
            key = self._likeness.key(text, wild)
            numbers = self.exchanges.alike.get((wild, key), [])
            fitting = [number for number in numbers if self._fits(number, text)]
            if fitting:
                # Those that fit another text are another set, with turns of its own.
                own = key if len(fitting) == len(numbers) else key + repr(fitting).encode()
                return (wild, own), fitting
        return None

    def _fits(self, number: int, text: str | bytes) -> bool:
        return self._likeness.stands_in(self.exchanges.exchanges[number].around, text)

    def likely_lane(self, among: list[int] | None = None) -> int:
        """The recorded session that fewest clients have had, the earliest of those."""
        lanes = among or range(len(self._claims))
        return min(lanes, key=lambda lane: (self._claims[lane], lane))

    def claim(self, lane: int) -> None:
        self._claims[lane] += 1

    def missed(self, head: Head | None) -> None:
        self.tally.missed += 1
        message_type = head.type if head is not None else None
        log.warning("recorded.missed", type=message_type, then=self.miss)
