"""Compare two recordings: the same requests, and what came to each then and then."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.record import Record
from megabot_cli.recording.secret_shapes import PSEUDONYM
from megabot_cli.recording.turn_facts import facts_of
from megabot_cli.recording.turns import Turn, Turns
from megabot_cli.replay.compare import Comparer, Verdict
from megabot_cli.replay.spread import percentile

_EXCERPT: Final = 200


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its verdict. `left_n` and `right_n` are the records it stands in; None
    where a recording has no such request. Times are milliseconds to the end of the answer."""

    verdict: Verdict
    request: str
    left_n: int | None = None
    right_n: int | None = None
    detail: str = ""
    left: str = ""
    right: str = ""
    left_ms: float | None = None
    right_ms: float | None = None


class RecordingDiff(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests came to the same, and each that did not, in the order of the left."""

    requests: int
    same: int
    same_shape: int
    different: int
    missing: int
    extra: int
    left_p50_ms: float
    left_p95_ms: float
    right_p50_ms: float
    right_p95_ms: float
    differences: list[Difference]

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


def diff(
    left: Iterable[Record], right: Iterable[Record], comparer: Comparer, likeness: Likeness
) -> RecordingDiff:
    """Compare the answers to the requests that are alike, each time one was made to the same
    time on the other side; the order between different requests does not count.

    What both sides say is kept in memory until it is compared.
    """
    waiting: defaultdict[tuple[str | None, bytes], deque[Turn]] = defaultdict(deque)
    left_ms: list[float] = []
    right_ms: list[float] = []
    found: list[Difference] = []
    for turn in _requests(left):
        waiting[_key(turn, likeness)].append(turn)
        _note(turn, left_ms)
    counts = dict.fromkeys(Verdict, 0)
    for turn in _requests(right):
        _note(turn, right_ms)
        alike = waiting.get(_key(turn, likeness))
        difference = _compare(alike.popleft() if alike else None, turn, comparer)
        counts[difference.verdict] += 1
        if difference.verdict is not Verdict.SAME:
            found.append(difference)
    for turns in waiting.values():
        for turn in turns:
            counts[Verdict.MISSING] += 1
            found.append(_compare(turn, None, comparer))
    left_ms.sort()
    right_ms.sort()
    return RecordingDiff(
        requests=sum(counts.values()),
        same=counts[Verdict.SAME],
        same_shape=counts[Verdict.SAME_SHAPE],
        different=counts[Verdict.DIFFERENT],
        missing=counts[Verdict.MISSING],
        extra=counts[Verdict.EXTRA],
        left_p50_ms=percentile(left_ms, 0.5),
        left_p95_ms=percentile(left_ms, 0.95),
        right_p50_ms=percentile(right_ms, 0.5),
        right_p95_ms=percentile(right_ms, 0.95),
        differences=sorted(found, key=_place),
    )


def _requests(records: Iterable[Record]) -> Iterator[Turn]:
    turns = Turns()
    for record in records:
        yield from (turn for turn in turns.take(record) if turn.is_request)
    yield from (turn for turn in turns.rest() if turn.is_request)


def _key(turn: Turn, likeness: Likeness) -> tuple[str | None, bytes]:
    assert turn.text is not None
    text = turn.text
    if isinstance(text, str):  # each recording has pseudonyms of its own for one secret
        text = PSEUDONYM.sub("‹redacted›", text)
    return (turn.head.type if turn.head is not None else None, likeness.key(text))


def _note(turn: Turn, took_ms: list[float]) -> None:
    whole = _whole_ms(turn)
    if whole is not None:
        took_ms.append(whole)


def _whole_ms(turn: Turn | None) -> float | None:
    if turn is None or turn.answer.last_at is None:
        return None
    return round((turn.answer.last_at - turn.at_s) * 1000, 3)


def _compare(left: Turn | None, right: Turn | None, comparer: Comparer) -> Difference:
    turn = left or right
    assert turn is not None
    verdict, detail, then, now = Verdict.SAME, "", "", ""
    if left is None:
        verdict, detail = Verdict.EXTRA, "asked only in the second"
    elif right is None:
        verdict, detail = Verdict.MISSING, "asked only in the first"
    else:
        comparison = comparer.compare(left.answer, right.answer)
        if comparison is not None:
            verdict, detail = comparison.verdict, comparison.detail
            then, now = comparison.recorded, comparison.replayed
        # Both were asked: what is missing is the answer, which makes them different.
        if verdict in (Verdict.MISSING, Verdict.EXTRA):
            verdict = Verdict.DIFFERENT
    return Difference(
        verdict=verdict,
        request=_request(turn),
        left_n=left.record.n if left is not None else None,
        right_n=right.record.n if right is not None else None,
        detail=detail,
        left=then,
        right=now,
        left_ms=_whole_ms(left),
        right_ms=_whole_ms(right),
    )


def _request(turn: Turn) -> str:
    facts = facts_of(turn)
    words = facts.text if facts.text is not None else msgspec.json.encode(facts.payload).decode()
    said = f"{facts.type or 'message'}: {words}"
    return said if len(said) <= _EXCERPT else said[:_EXCERPT] + "…"


def _place(difference: Difference) -> tuple[int, int]:
    """By the left's order; what only the right has, at the end."""
    if difference.left_n is None:
        return 1, difference.right_n or 0
    return 0, difference.left_n
