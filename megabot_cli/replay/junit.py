"""A replay's report as JUnit XML, which every CI system shows: one test case per answer."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from megabot_cli.replay.budgets import Verdict as BudgetVerdict
from megabot_cli.replay.compare import Verdict
from megabot_cli.replay.options import Expectation
from megabot_cli.replay.report import ReplayReport, fails

# What XML 1.0 cannot say at all, not even escaped, and what it can but a terminal that
# shows the file would obey: returns, DEL, C1, marks and overrides of direction.
_UNSAID = re.compile(
    "[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    "|[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


Case = tuple[str, Verdict, str]
"""One answer that was compared: its name, the verdict, and what to read about it."""


def junit(
    report: ReplayReport,
    cases: Sequence[Case],
    budgets: Sequence[BudgetVerdict],
) -> str:
    """The XML text; each budget is a test case too."""
    failed = [case for case in cases if fails(case[1], report.expect)]
    broken = [budget for budget in budgets if not budget.kept]
    suite = ET.Element(
        "testsuite",
        name="megabot replay",
        tests=str(len(cases) + len(budgets)),
        failures=str(len(failed) + len(broken)),
        errors="0",
        time=f"{report.duration_s:.3f}",
    )
    for name, verdict, detail in cases:
        case = ET.SubElement(suite, "testcase", classname="megabot.replay", name=_clean(name))
        _judge(case, verdict, detail, report.expect)
    for budget in budgets:
        case = ET.SubElement(
            suite, "testcase", classname="megabot.budget", name=_clean(budget.budget)
        )
        if not budget.kept:
            text = f"{budget.value:.3f}, allowed {budget.allowed:.3f}"
            ET.SubElement(case, "failure", message=text, type="budget")
    ET.indent(suite)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
    )


def _judge(case: ET.Element, verdict: Verdict, detail: str, expect: Expectation) -> None:
    if fails(verdict, expect):
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
