"""Compare two recordings: the same requests, and what came to each then and then."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import zip_longest
from typing import IO, Any, Final

import msgspec

from megabot_cli.errors import MegabotError
from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.record import Record
from megabot_cli.recording.secret_shapes import PSEUDONYM
from megabot_cli.recording.turn_facts import facts_of
from megabot_cli.recording.turns import Turn, Turns
from megabot_cli.replay.compare import Comparer, Verdict
from megabot_cli.replay.spread import percentile
from megabot_cli.wording import counted

_EXCERPT: Final = 200
_MOST_IN_MEMORY: Final = 200  # requests that wait for the other side, of each
_Key = tuple[str | None, bytes]


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
    """How many requests came to the same, and each that did not, in the order of the left. To so
    many that `answered` counts anything came on one side at least; times are of whole answers."""

    requests: int
    answered: int
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

    Both are read side by side: what one side has said and the other not yet waits, the first of
    it in memory and the rest in a file without a name.
    """
    left_ms: list[float] = []
    right_ms: list[float] = []
    found: list[Difference] = []
    counts = dict.fromkeys(Verdict, 0)
    answered = 0
    for one, other in _pairs(left, right, likeness):
        _note(one, left_ms)
        _note(other, right_ms)
        answered += any(turn is not None and bool(turn.answer.parts) for turn in (one, other))
        difference = _compare(one, other, comparer)
        counts[difference.verdict] += 1
        if difference.verdict is not Verdict.SAME:
            found.append(difference)
    left_ms.sort()
    right_ms.sort()
    return RecordingDiff(
        requests=sum(counts.values()),
        answered=answered,
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


def _pairs(
    left: Iterable[Record], right: Iterable[Record], likeness: Likeness
) -> Iterator[tuple[Turn | None, Turn | None]]:
    """The requests that are alike; in the end those that only one side has."""
    with closing(_Waiting()) as only_left, closing(_Waiting()) as only_right:
        yield from _paired(left, right, likeness, only_left, only_right)


def _paired(
    left: Iterable[Record],
    right: Iterable[Record],
    likeness: Likeness,
    only_left: _Waiting,
    only_right: _Waiting,
) -> Iterator[tuple[Turn | None, Turn | None]]:
    for one, other in zip_longest(_requests(left), _requests(right)):
        if one is not None:
            key = _key(one, likeness)
            alike = only_right.take(key)
            if alike is not None:
                yield one, alike
            else:
                only_left.add(key, one)
        if other is not None:
            key = _key(other, likeness)
            alike = only_left.take(key)
            if alike is not None:
                yield alike, other
            else:
                only_right.add(key, other)
    yield from ((turn, None) for turn in only_left.rest())
    yield from ((None, turn) for turn in only_right.rest())


class _Waiting:
    """Requests of one side, until the other asks the same; first come, first served."""

    def __init__(self) -> None:
        self._turns: dict[_Key, deque[Turn | int]] = {}  # an integer is where one is in the file
        self._in_memory = 0
        self._file: IO[bytes] | None = None

    def add(self, key: _Key, turn: Turn) -> None:
        place = self._put_away(turn) if self._in_memory >= _MOST_IN_MEMORY else None
        self._in_memory += place is None
        self._turns.setdefault(key, deque()).append(turn if place is None else place)

    def take(self, key: _Key) -> Turn | None:
        turns = self._turns.get(key)
        if turns is None:
            return None
        turn = turns.popleft()
        if not turns:
            del self._turns[key]
        return self._got(turn)

    def rest(self) -> Iterator[Turn]:
        for turns in self._turns.values():
            yield from map(self._got, turns)

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what it still had to write nobody reads
                self._file.close()

    def _put_away(self, turn: Turn) -> int | None:
        """Where it is in the file; None for what cannot be written down."""
        try:
            content = pickle.dumps(turn)
        except RecursionError:
            return None
        with _told_of_disk():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  `close` closes it
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(content)
        return place

    def _got(self, turn: Turn | int) -> Turn:
        if isinstance(turn, Turn):
            self._in_memory -= 1
            return turn
        assert self._file is not None
        with _told_of_disk():
            self._file.seek(turn)
        found: Turn = pickle.load(self._file)  # noqa: S301  we wrote it, where nobody else can
        return found


@contextmanager
def _told_of_disk() -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise MegabotError(
            f"What is to be compared could not be kept in {tempfile.gettempdir()}: "
            f"{fault.strerror}",
            "TMPDIR names another folder.",
        ) from fault


def _requests(records: Iterable[Record]) -> Iterator[Turn]:
    turns = Turns()
    for record in records:
        yield from (turn for turn in turns.take(record) if turn.is_request)
    yield from (turn for turn in turns.rest() if turn.is_request)


def _key(turn: Turn, likeness: Likeness) -> _Key:
    assert turn.text is not None
    text = turn.text
    if isinstance(text, str):  # each recording has pseudonyms of its own for one secret
        text = PSEUDONYM.sub("‹redacted›", text)
    return (turn.head.type if turn.head is not None else None, likeness.key(text))


def _note(turn: Turn | None, took_ms: list[float]) -> None:
    whole = _whole_ms(turn)
    if whole is not None:
        took_ms.append(whole)


def _whole_ms(turn: Turn | None) -> float | None:
    if turn is None or turn.answer.last_at is None or not turn.answer.is_whole:
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
    if facts.binary_bytes is not None:
        return f"message: {counted(facts.binary_bytes, 'byte')}, binary"
    words = facts.text if facts.text is not None else msgspec.json.encode(facts.payload).decode()
    said = f"{facts.type or 'message'}: {words}"
    return said if len(said) <= _EXCERPT else said[:_EXCERPT] + "…"


def _place(difference: Difference) -> tuple[int, int]:
    """By the left's order; what only the right has, at the end."""
    if difference.left_n is None:
        return 1, difference.right_n or 0
    return 0, difference.left_n
