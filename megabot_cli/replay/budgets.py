"""Budgets of a replay: `first_chunk_ms.p95 < 1.5 * recorded`, judged when it is over."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Final

import msgspec

from megabot_cli.errors import WrongUsage
from megabot_cli.replay.spread import Spread

SPREADS: Final = ("first_chunk_ms", "total_ms", "lateness_ms")
_OF_ANSWERS: Final = frozenset({"first_chunk_ms", "total_ms"})
COUNTS: Final = ("sent", "replies", "same", "same_shape", "different", "missing", "extra")
STATISTICS: Final = ("p50", "p95", "p99", "max", "mean")

_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_WHOLE = re.compile(
    r"\s*(?P<name>[a-z_]+)(?:\.(?P<statistic>[a-z0-9]+))?\s*(?P<sign><=|>=|==|!=|<|>)\s*"
    r"(?:(?P<number>\d+(?:\.\d+)?)(?:\s*\*\s*(?P<times>recorded))?|(?P<recorded>recorded))\s*\Z"
)
_LEFT = re.compile(r"\s*(?P<name>[a-z_]+)(?:\.(?P<statistic>[a-z0-9]+))?\s*")
_SIGN = re.compile(r"(?:<=|>=|==|!=|<|>)\s*")


class Figures(msgspec.Struct, frozen=True):
    """What is judged: values of each spread, now and when it was recorded, and the counts."""

    now: Mapping[str, Spread]
    recorded: Mapping[str, Spread]
    counts: Mapping[str, int]


class Verdict(msgspec.Struct, frozen=True):
    """Whether a budget was kept: what it says, what it was, and what was allowed; or why nobody
    can say what it was (`unmeasured`), and then it was not."""

    budget: str
    kept: bool
    value: float
    allowed: float
    unmeasured: str = ""


class Budget:
    """One budget that was understood, about a `figure`. WrongUsage, with a mark under the column,
    for none."""

    def __init__(self, source: str) -> None:
        self.source = source
        found = _WHOLE.match(source)
        if found is None:
            raise _not_understood(source)
        self.figure, self._statistic = found["name"], found["statistic"]
        _check_name(source, self.figure, self._statistic)
        self._holds = _SIGNS[found["sign"]]
        self._number = float(found["number"]) if found["number"] is not None else 1.0
        self._of_recorded = bool(found["times"] or found["recorded"])
        if self._of_recorded and (self._statistic is None or self.figure == "lateness_ms"):
            raise _marked(source, found.start("sign"), f"Nothing is recorded of {self.figure}")

    def judge(self, figures: Figures) -> Verdict:
        """Compare what was with what is allowed. An upstream that answers nothing is not quick."""
        value = self._value(figures.now, figures.counts)
        allowed = self._number
        if self._of_recorded:
            allowed *= self._value(figures.recorded, figures.counts)
        unmeasured = self._unmeasured(figures)
        kept = not unmeasured and self._holds(value, allowed)
        return Verdict(self.source, kept, value, allowed, unmeasured)

    def _unmeasured(self, figures: Figures) -> str:
        if self.figure not in _OF_ANSWERS:
            return ""
        if not figures.now[self.figure].count:
            return "no answer came"
        if self._of_recorded and not figures.recorded[self.figure].count:
            return "no answer was recorded"
        return ""

    def _value(self, spreads: Mapping[str, Spread], counts: Mapping[str, int]) -> float:
        if self._statistic is None:
            return counts[self.figure]
        spread = spreads[self.figure]
        if self._statistic == "mean":
            return spread.mean
        share = 1.0 if self._statistic == "max" else int(self._statistic[1:]) / 100
        return spread.percentiles(share)[0]


def _check_name(source: str, name: str, statistic: str | None) -> None:
    known = SPREADS if statistic is not None else COUNTS
    if name not in known:
        every = (*SPREADS, *COUNTS)
        if name in every:
            want = "needs a statistic: .p95, say" if statistic is None else "is a plain number"
            raise _marked(source, source.index(name), f"{name} {want}")
        close = get_close_matches(name, every, n=1)
        more = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(every)}"
        raise _marked(source, source.index(name), f"There is no figure {name!r}{more}")
    if statistic is not None and statistic not in STATISTICS:
        message = f"There is no statistic {statistic!r}; there are {', '.join(STATISTICS)}"
        raise _marked(source, source.index(f".{statistic}") + 1, message)


def _not_understood(source: str) -> WrongUsage:
    left = _LEFT.match(source)
    if left is None:
        return _marked(source, 0, "A budget begins with a figure")
    sign = _SIGN.match(source, left.end())
    if sign is None:
        return _marked(source, left.end(), "Here a comparison is missing: < <= > >= == !=")
    return _marked(source, sign.end(), "Here a number is missing, or a number * recorded")


def _marked(source: str, offset: int, message: str) -> WrongUsage:
    return WrongUsage(
        f"--assert, column {offset + 1}: {message}\n  {source}\n  {' ' * offset}^",
        "An example: first_chunk_ms.p95 < 1.5 * recorded",
    )
