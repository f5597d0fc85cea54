"""When recorded clients came and went, and when that is in a replay."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import accumulate

import msgspec

from megabot_cli.recording.record import Record
from megabot_cli.recording.selection import Selection


class Recorded(msgspec.Struct):
    """When each client came and went, in microseconds of the recording; one that came back
    counts from its first coming to its last going."""

    opened: dict[str, int] = {}
    closed: dict[str, int] = {}

    def take(self, kind: str, client: str, t: int) -> None:
        if kind == "open":
            self.opened.setdefault(client, t)
            self.closed.pop(client, None)
        else:
            self.closed[client] = t


class Present:
    """Clients that were there while messages were chosen, whether they said anything or not.

    Words that choose among messages (`--type`, `--where` …) choose those who said them, and
    nobody else; `--client` and the like say of each client whether it is wanted.
    """

    def __init__(self, selection: Selection) -> None:
        wanted = selection
        by_message = wanted.types or wanted.ids or wanted.kinds or wanted.grep or wanted.where
        self._anybody = not by_message
        self._is_wanted = Selection(clients=wanted.clients, links=wanted.links).matcher().matches
        # Where the opening does not tell whose it is, what was said on the same lane does.
        self._is_owned = Selection(sessions=wanted.sessions, users=wanted.users).matcher().matches
        self._lanes: dict[str, tuple[str, bool]] = {}  # by client; whether it was told whose

    def take(self, record: Record, lane: str, *, begun: bool) -> None:
        """A client came or went; one that went before anything could be chosen was not there."""
        assert record.client is not None
        if record.kind == "open" and self._anybody and self._is_wanted(record):
            self._lanes.setdefault(record.client, (lane, self._is_owned(record)))
        elif record.kind == "close" and not begun:
            self._lanes.pop(record.client, None)

    def besides(self, speakers: Collection[str], lanes: Collection[str]) -> dict[str, str]:
        """The lanes of those who are not among the `speakers`, by client; `lanes` are theirs."""
        return {
            client: lane
            for client, (lane, is_owned) in self._lanes.items()
            if client not in speakers and (is_owned or lane in lanes)
        }


class Course:
    """How a replay goes through a recording: each message was sent at one of `times_us` and is
    due at one of `offsets`, in seconds of the replay's own time."""

    def __init__(self, times_us: Sequence[int], offsets: Sequence[float]) -> None:
        self._times_us = list(accumulate(times_us, max))
        self._offsets = offsets

    def position(self, t: int) -> float:
        """Where another moment of the recording is: a pause that was cut is cut evenly."""
        times_us, offsets = self._times_us, self._offsets
        place = bisect_left(times_us, t)
        if place == 0:
            return offsets[0]
        before = times_us[place - 1]
        if place == len(times_us):
            return offsets[-1] + (t - before) / 1e6
        share = (t - before) / (times_us[place] - before)
        return offsets[place - 1] + share * (offsets[place] - offsets[place - 1])
