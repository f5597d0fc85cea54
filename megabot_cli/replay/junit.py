"""A replay's report as JUnit XML, which every CI system shows: one test case per answer."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import msgspec

from megabot_cli.replay.budgets import Verdict as BudgetVerdict
from megabot_cli.replay.compare import Verdict

# What XML 1.0 cannot say at all, not even escaped, and what it can but a terminal that
# shows the file would obey: returns, DEL, C1, marks and overrides of direction.
_UNSAID = re.compile(
    "[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    "|[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


class Case(msgspec.Struct, frozen=True):
    """One answer that was compared: its name, the verdict, what to read about it, and whether
    it is not what was expected."""

    name: str
    verdict: Verdict
    detail: str = ""
    failed: bool = False


def junit(
    cases: Sequence[Case],
    budgets: Sequence[BudgetVerdict],
    duration_s: float,
    ended_by: tuple[str, str] | None = None,
) -> str:
    """The XML text; each budget is a test case too, and so is the replay itself where something
    ended it: what kind of thing, and what to read about it."""
    failed = [case for case in cases if case.failed]
    broken = [budget for budget in budgets if not budget.kept]
    suite = ET.Element(
        "testsuite",
        name="megabot replay",
        tests=str(len(cases) + len(budgets) + (ended_by is not None)),
        failures=str(len(failed) + len(broken)),
        errors=str(int(ended_by is not None)),
        time=f"{duration_s:.3f}",
    )
    for each in cases:
        case = ET.SubElement(suite, "testcase", classname="megabot.replay", name=_clean(each.name))
        _judge(case, each)
    for budget in budgets:
        case = ET.SubElement(
            suite, "testcase", classname="megabot.budget", name=_clean(budget.budget)
        )
        if not budget.kept:
            text = budget.unmeasured or f"{budget.value:.3f}, allowed {budget.allowed:.3f}"
            ET.SubElement(case, "failure", message=text, type="budget")
    if ended_by is not None:
        case = ET.SubElement(suite, "testcase", classname="megabot.replay", name="to its end")
        ET.SubElement(case, "error", message=_clean(ended_by[1]), type=_clean(ended_by[0]))
    ET.indent(suite)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
    )


def _judge(case: ET.Element, judged: Case) -> None:
    verdict, detail = judged.verdict, judged.detail
    if judged.failed:
        first = detail.partition("\n")[0]
        failure = ET.SubElement(
            case, "failure", message=_clean(f"{verdict.value}: {first}"), type=verdict.value
        )
        failure.text = _clean(detail)
    elif verdict is not Verdict.SAME:
        ET.SubElement(case, "system-out").text = _clean(f"{verdict.value}: {detail}")


def _clean(text: str) -> str:
    """`text` as XML can say it; a terminal that shows the file is not steered either."""
    return _UNSAID.sub("\ufffd", text)
