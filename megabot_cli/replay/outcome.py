"""What a replay came to: one round of it, several together, or the fault that ended it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from megabot_cli.errors import MegabotError
from megabot_cli.recording.answers import Answer
from megabot_cli.replay.budgets import Figures
from megabot_cli.replay.judging import timing
from megabot_cli.replay.junit import Case
from megabot_cli.replay.lateness import summary_of
from megabot_cli.replay.report import ReplayReport, first_of
from megabot_cli.replay.spread import Spread
from megabot_cli.replay.varying import Variation

VERDICTS: Final = ("same", "same_shape", "different", "missing", "extra")
_COUNTS: Final = ("sent", "replies", "unasked", "uncompared", "failed", "context", *VERDICTS)


class Played(msgspec.Struct, frozen=True):
    """What a replay came to: the report, each verdict, and the figures that budgets are about;
    `varied` is as the report's `varying`, with what is ignored."""

    report: ReplayReport
    cases: list[Case]
    figures: Figures
    varied: Mapping[str, int] = {}


class Progress(msgspec.Struct, frozen=True):
    """How far a replay is. `left_s` is None at a pace that the upstream decides."""

    sent: int
    to_send: int
    replies: int
    outstanding: int
    late_ms: float
    left_s: float | None


class Round(msgspec.Struct, frozen=True):
    """What one round came to. `now` are times by name, in milliseconds, `recorded` how they were
    spread then, `late` the messages that left late, `answers` the answers by their message's
    place, to who asks."""

    report: ReplayReport
    cases: list[Case]
    now: Mapping[str, list[float]]
    recorded: Mapping[str, Spread]
    late: int
    answers: Callable[[], Mapping[int, Answer]]


class Totals:
    """Rounds, added up as they end. However many they are, this grows by their cases alone, and
    not even by those unless `with_cases`."""

    def __init__(self, *, with_cases: bool, ignored: Sequence[str] = ()) -> None:
        self._with_cases = with_cases
        self._first: Round | None = None
        self._rounds = 0
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._held_back: Counter[str] = Counter()
        self._passed = True
        self._duration_s = 0.0
        self._late = 0
        self._now: dict[str, Spread] = {}
        self._cases: list[Case] = []
        self._report: ReplayReport | None = None
        self._variation = Variation(ignored)

    @property
    def sent(self) -> int:
        return self._counts["sent"]

    def add(self, played: Round) -> None:
        report = played.report
        if self._first is None:
            self._first, self._report = played, report
        else:
            if self._rounds == 1:
                self._variation.add(self._first.answers())
            self._variation.add(played.answers())
            assert self._report is not None
            differences = first_of([*self._report.differences, *report.differences])
            self._report = msgspec.structs.replace(self._report, differences=differences)
        self._rounds += 1
        for name in _COUNTS:
            self._counts[name] += getattr(report, name)
        self._held_back.update(report.held_back)
        self._passed = self._passed and report.passed
        self._duration_s += report.duration_s
        self._late += played.late
        for name, values in played.now.items():
            self._now.setdefault(name, Spread()).extend(values)
        if self._with_cases:
            self._cases += played.cases if self._rounds == 1 else self._of_this_round(played.cases)

    def _of_this_round(self, cases: Sequence[Case]) -> Iterator[Case]:
        """Who reads a JUnit file keeps one case of each name, so the first round's alone are
        called as in a replay of one."""
        for case in cases:
            yield msgspec.structs.replace(case, name=f"{case.name}, round {self._rounds}")

    def and_(self, under_way: Round) -> Totals:
        """These and a round that has not ended. They themselves stay as they are."""
        totals = Totals(with_cases=self._with_cases)
        totals.__dict__.update(self.__dict__)
        totals._counts = dict(self._counts)
        totals._held_back = self._held_back.copy()
        totals._now = {name: spread.copy() for name, spread in self._now.items()}
        totals._cases = list(self._cases)
        totals._variation = self._variation.copy()
        totals.add(under_way)
        return totals

    def played(self, *, stopped: bool) -> Played:
        """What they come to; one round at least."""
        assert self._first is not None
        assert self._report is not None
        recorded = {**self._first.recorded, "lateness_ms": Spread()}
        report = msgspec.structs.replace(
            self._report,
            **self._counts,
            held_back=dict(self._held_back),
            passed=self._passed,
            rounds=self._rounds,
            stopped=stopped,
            duration_s=self._duration_s,
            lateness=summary_of(self._now["lateness_ms"], self._late),
            recorded_timing=timing(recorded),
            replayed_timing=timing(self._now),
            varying=self._variation.found() if self._rounds > 1 else {},
        )
        figures = Figures(self._now, recorded, self._counts)
        varied = self._variation.found(with_ignored=True)
        return Played(report, self._cases, figures, varied)


def cause_of(faults: ExceptionGroup[Exception]) -> Exception:
    """What to tell of several tasks that failed at once: a fault of ours before any other."""
    flat = [
        cause_of(each) if isinstance(each, ExceptionGroup) else each for each in faults.exceptions
    ]
    return next((fault for fault in flat if not isinstance(fault, MegabotError)), flat[0])
