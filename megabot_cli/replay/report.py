"""What a replay came to: for people, and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from megabot_cli.replay.compare import Verdict
from megabot_cli.replay.lateness import LATE_MS, LatenessSummary
from megabot_cli.replay.options import Expectation
from megabot_cli.wording import counted

MOST_DIFFERENCES: Final = 100
MOST_SHOWN: Final = 10


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that is not what was recorded; `n` is the record of the message it answers.
    `failed` where it is not what was expected either."""

    n: int
    client: str
    type: str | None
    verdict: Verdict
    detail: str
    recorded: str
    replayed: str
    failed: bool = False


class Timing(msgspec.Struct, frozen=True):
    """Milliseconds from a message to the first and to the last that answered it (p50, p95)."""

    first_p50_ms: float = 0.0
    first_p95_ms: float = 0.0
    total_p50_ms: float = 0.0
    total_p95_ms: float = 0.0


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """`same` … `extra` count answers by verdict, `uncompared` those the recording cannot judge.

    `failed` counts those that are not what `expect` allows: of an answer to a message that went
    out with a pseudonym for its secret that is the same shape. `rounds` is how often it was
    played, `context` how many messages were sent before; `stopped` that somebody ended it early.
    Of the `clients` that a round opened `silent` had nothing to send; all other figures are of all
    rounds together.
    `replies` counts messages that came after the greeting, `unasked` those of them that answer
    nothing. `lateness` is about paces that time decides. Of `differences` the first hundred are
    kept, those that failed before those that may be. `varying` are paths whose values were not
    the same in all rounds, with the number of answers in which they varied, without what is
    ignored.
    """

    sent: int
    held_back: dict[str, int]
    clients: int
    replies: int
    unasked: int
    same: int = 0
    same_shape: int = 0
    different: int = 0
    missing: int = 0
    extra: int = 0
    uncompared: int = 0
    failed: int = 0
    expect: Expectation = "shape"
    passed: bool = True
    rounds: int = 1
    context: int = 0
    silent: int = 0
    stopped: bool = False
    duration_s: float = 0.0
    lateness: LatenessSummary = LatenessSummary()
    recorded_timing: Timing = Timing()
    replayed_timing: Timing = Timing()
    differences: list[Difference] = []
    varying: dict[str, int] = {}
    warnings: list[str] = []

    @property
    def compared(self) -> int:
        return self.same + self.same_shape + self.different + self.missing + self.extra

    def titled_differences(self) -> list[tuple[str, Difference]]:
        """The differences, each with what to read above it; what came the same in several rounds
        is one. None where nothing is expected: then the counts are what was asked for."""
        told = [] if self.expect == "none" else self.differences
        return [
            (
                f"record {each.n}, {each.type or 'no type'}: {each.verdict.replace('_', ' ')}, "
                + each.detail
                + (f" ({times} times)" if times > 1 else ""),
                each,
            )
            for each, times in Counter(told).items()
        ]

    def as_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    def lines(self, *, differences: bool = True) -> list[str]:
        """The report for people, with or without the first differences."""
        held_back = sum(self.held_back.values())
        late, then, now = self.lateness, self.recorded_timing, self.replayed_timing
        lines = [
            f"sent       {counted(self.sent, 'message')} as {counted(self.clients, 'client')} "
            + (f"({self.silent} silent) " if self.silent else "")
            + f"in {self.duration_s:.1f} s"
            + (f", {held_back} held back" if held_back else "")
            + (f", after {self.context} of context" if self.context else "")
            + (f", in {self.rounds} rounds" if self.rounds > 1 else "")
            + (", stopped early" if self.stopped else ""),
        ]
        if late.timed:
            lines.append(
                f"lateness   p50 {late.p50_ms:.1f} ms, p95 {late.p95_ms:.1f}, max {late.max_ms:.1f}"
                + (f"; {late.late} left more than {LATE_MS:g} ms late" if late.late else "")
            )
        lines += [
            f"answers    {self.same} same, {self.same_shape} same shape, "
            f"{self.different} different, {self.missing} missing, {self.extra} extra"
            + (f", {self.uncompared} not compared" if self.uncompared else "")
            + ("; --json tells where" if self.expect == "none" and self.differences else ""),
            f"first      {now.first_p50_ms:.0f} ms (recorded {then.first_p50_ms:.0f})",
            f"whole      {now.total_p50_ms:.0f} ms (recorded {then.total_p50_ms:.0f})",
        ]
        lines += [
            f"varies     {path}, in {counted(n, 'answer')}" for path, n in self.varying.items()
        ]
        told = self.titled_differences() if differences else []
        for title, difference in told[:MOST_SHOWN]:
            lines.append(title)
            lines.append(f"  recorded  {difference.recorded}")
            lines.append(f"  now       {difference.replayed}")
        if len(told) > MOST_SHOWN:
            lines.append(f"… and {len(told) - MOST_SHOWN} more")
        return lines + [f"note: {warning}" for warning in self.warnings]


def first_of(differences: Sequence[Difference]) -> list[Difference]:
    """So many as are kept: what failed is not to be crowded out by what may differ."""
    return sorted(differences, key=lambda each: not each.failed)[:MOST_DIFFERENCES]


def fails(verdict: Verdict, expect: Expectation) -> bool:
    """Whether an answer with this verdict is not what was expected."""
    if expect == "none" or verdict is Verdict.SAME:
        return False
    return expect == "exact" or verdict is not Verdict.SAME_SHAPE
