"""What a recording comes to in numbers. Takes little memory, however long the recording is."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from megabot_cli.recording.record import Record
from megabot_cli.recording.reply_times import ReplyTimes

_MOST_NAMES: Final = 100_000  # of sessions, clients, links that are told apart
_MOST_TYPES: Final = 200
_BUCKETS: Final = 60
# Upper bounds in microseconds: 1, 2, 5, 10 … of a millisecond up to a minute, and beyond.
LATENCY_BOUNDS_US: Final = tuple(step * 10**power for power in range(3, 8) for step in (1, 2, 5))


class Spread(msgspec.Struct, frozen=True):
    """How values lie, in the unit of the field's name."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    mean: float = 0.0


class TypeCount(msgspec.Struct):
    """Messages of one type that went one way, and the bytes of their payloads."""

    type: str
    direction: str
    messages: int = 0
    bytes: int = 0


class SlowRequest(msgspec.Struct, frozen=True):
    """A request whose answer took long: its number in the recording, and how long."""

    n: int
    type: str
    at_s: float
    first_ms: float
    whole_ms: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. A whole recording lasts (`duration_s`) from when it began to its end, a part as
    long as it spans: `span_s`, from its first record to its last. Rates are of that, and so is the
    `timeline`, which counts messages in equal parts of it, `bucket_s` each.

    `latency_histogram` has pairs of (milliseconds, answers that took at most so long and more
    than the pair before); the last pair's bound is None. Every request is `answered`, `broken_off`
    or `unanswered`; `failed` are those of the answered that were refused, `untimed` those for which
    the time goes back between question and answer: no latency is known of them.
    """

    records: int
    duration_s: float
    span_s: float
    messages: int
    bytes: int
    to_upstream: int
    to_client: int
    messages_per_s: float
    peak_per_s: float
    sessions: int
    clients: int
    links: int
    kinds: dict[str, int]
    types: list[TypeCount]
    size_bytes: Spread
    requests: int
    answered: int
    untimed: int
    failed: int
    unanswered: dict[str, int]
    broken_off: dict[str, int]
    first_chunk_ms: Spread
    total_ms: Spread
    latency_histogram: list[tuple[float | None, int]]
    slowest: list[SlowRequest]
    gaps: int
    lost: int
    longest_silence_s: float
    longest_silence_at_s: float
    redacted: int
    close_codes: dict[str, int]
    bucket_s: float
    timeline: list[int]

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


class Statistics:
    """Takes the records of one `whole` recording, or those of some that are of interest."""

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._records = 0
        self._bytes = 0
        self._first_us: int | None = None
        self._last_us = 0
        self._silence = (0, 0)  # how long, and when it began
        self._directions: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._types: dict[tuple[str, str], TypeCount] = {}
        self._names: dict[str, set[str]] = {"session": set(), "client": set(), "link": set()}
        self._sizes = array("q")
        self._replies = ReplyTimes()
        self._gaps = self._lost = self._redacted = 0
        self._close_codes: Counter[str] = Counter()
        self._timeline = Timeline(_BUCKETS)

    def take(self, record: Record) -> None:
        self._records += 1
        self._kinds[record.kind] += 1
        if self._first_us is None:
            self._first_us = self._last_us = record.t
        if record.t - self._last_us > self._silence[0]:
            self._silence = (record.t - self._last_us, self._last_us)
        self._last_us = max(self._last_us, record.t)
        for name, known in self._names.items():
            value = getattr(record, name)
            if value is not None and len(known) < _MOST_NAMES:
                known.add(value)
        if record.kind in ("message", "inject"):
            self._message(record)
        elif record.kind == "open":
            self._replies.take(record)
        elif record.kind == "gap":
            self._gaps += 1
            self._lost += record.lost or 0
        elif record.kind == "close":
            self._close_codes[str(record.code or "none")] += 1

    def _message(self, record: Record) -> None:
        size = record.size or 0
        direction = record.direction or "unknown"
        self._bytes += size
        self._sizes.append(size)
        self._directions[direction] += 1
        self._redacted += bool(record.redacted)
        self._timeline.add(record.t)
        key = (record.type or "(no type)", direction)
        count = self._types.get(key)
        if count is None:
            if len(self._types) >= _MOST_TYPES:
                key = ("(others)", direction)
            count = self._types.setdefault(key, TypeCount(*key))
        count.messages += 1
        count.bytes += size
        self._replies.take(record)

    def summary(self, ended_us: int = 0) -> Summary:
        """What was taken comes to. To be asked once, at the end.

        `ended_us` is when the recording ended, which may be after its last record.
        """
        replies = self._replies
        replies.finish()
        first_us = self._first_us or 0
        span_s = (self._last_us - first_us) / 1e6
        messages = len(self._sizes)
        bucket_s, timeline = self._timeline.between(first_us, self._last_us)
        per_s = messages / span_s if span_s else float(messages)
        return Summary(
            records=self._records,
            duration_s=max(self._last_us, ended_us) / 1e6 if self._whole else span_s,
            span_s=span_s,
            messages=messages,
            bytes=self._bytes,
            to_upstream=self._directions["to_upstream"],
            to_client=self._directions["to_client"],
            messages_per_s=per_s,
            # What lasts less than a part of the line has no more at any time than on the whole.
            peak_per_s=max(per_s, max(timeline, default=0) / bucket_s) if span_s else per_s,
            sessions=len(self._names["session"]),
            clients=len(self._names["client"]),
            links=len(self._names["link"]),
            kinds=dict(self._kinds.most_common()),
            types=sorted(self._types.values(), key=lambda each: -each.messages),
            size_bytes=_spread(self._sizes, 1),
            requests=replies.requests,
            answered=len(replies.whole_us) + replies.untimed,
            untimed=replies.untimed,
            failed=replies.failed,
            unanswered=dict(sorted(replies.unanswered.items())),
            broken_off=dict(sorted(replies.broken_off.items())),
            first_chunk_ms=_spread(replies.first_us, 1000),
            total_ms=_spread(replies.whole_us, 1000),
            latency_histogram=_histogram(replies.whole_us),
            slowest=[
                SlowRequest(
                    each.n,
                    each.type,
                    each.at_us / 1e6,
                    ((each.first_us or 0) - each.at_us) / 1000,
                    ((each.last_us or 0) - each.at_us) / 1000,
                )
                for each in replies.slowest
            ],
            gaps=self._gaps,
            lost=self._lost,
            longest_silence_s=self._silence[0] / 1e6,
            longest_silence_at_s=self._silence[1] / 1e6,
            redacted=self._redacted,
            close_codes=dict(self._close_codes.most_common()),
            bucket_s=bucket_s,
            timeline=timeline,
        )


class Timeline:
    """Counts over time in at most twice `buckets` parts, which grow as time goes on."""

    def __init__(self, buckets: int) -> None:
        self._most = 2 * buckets
        self._width_us = 1000
        self._counts: Counter[int] = Counter()

    def add(self, at_us: int) -> None:
        self._counts[at_us // self._width_us] += 1
        while len(self._counts) > self._most:
            self._double()

    def between(self, first_us: int, last_us: int) -> tuple[float, list[int]]:
        """The width of a part in seconds, and what each of the parts counts."""
        while (last_us - first_us) // self._width_us >= self._most:
            self._double()
        first, last = first_us // self._width_us, last_us // self._width_us
        return self._width_us / 1e6, [self._counts[place] for place in range(first, last + 1)]

    def _double(self) -> None:
        self._width_us *= 2
        halved: Counter[int] = Counter()
        for place, count in self._counts.items():
            halved[place // 2] += count
        self._counts = halved


def _spread(values: Sequence[int], unit: int) -> Spread:
    if not values:
        return Spread()
    ordered = sorted(values)

    def at(share: float) -> float:
        place = max(0, -(-len(ordered) * share // 1) - 1)
        return ordered[min(len(ordered) - 1, int(place))] / unit

    return Spread(
        at(0.5), at(0.95), at(0.99), ordered[-1] / unit, sum(ordered) / len(ordered) / unit
    )


def _histogram(values_us: Sequence[int]) -> list[tuple[float | None, int]]:
    """Only from the first bound to the last that has any."""
    counts = [0] * (len(LATENCY_BOUNDS_US) + 1)
    for value in values_us:
        counts[bisect_left(LATENCY_BOUNDS_US, value)] += 1
    used = [place for place, count in enumerate(counts) if count]
    bounds = [*(bound / 1000 for bound in LATENCY_BOUNDS_US), None]
    return (
        [(bounds[place], counts[place]) for place in range(used[0], used[-1] + 1)] if used else []
    )
