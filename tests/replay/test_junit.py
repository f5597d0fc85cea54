from __future__ import annotations

import xml.etree.ElementTree as ET

from megabot_cli.replay.budgets import Verdict as BudgetVerdict
from megabot_cli.replay.compare import Verdict
from megabot_cli.replay.junit import Case, junit


def test_answers_and_budgets_are_test_cases_and_what_failed_says_why() -> None:
    cases = [
        Case("record 1", Verdict.SAME),
        Case("record 2", Verdict.SAME_SHAPE, "other words"),
        Case("record 3", Verdict.DIFFERENT, "step 1: x\nrecorded: a\nnow: b", failed=True),
    ]
    budgets = [
        BudgetVerdict("total_ms.p95 < 5", kept=False, value=7.0, allowed=5.0),
        BudgetVerdict("missing == 0", kept=True, value=0.0, allowed=0.0),
    ]
    suite = ET.fromstring(junit(cases, budgets, 1.5))  # noqa: S314  our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "2", "0")
    assert suite.get("time") == "1.500"
    failures = [case.find("failure") for case in suite]
    assert [failure is not None for failure in failures] == [False, False, True, True, False]
    assert failures[2] is not None
    assert failures[2].get("message") == "different: step 1: x"
    assert "now: b" in (failures[2].text or "")


def test_any_text_makes_xml_that_reads() -> None:
    nasty = "\x00\x1b]0;x\x07 <&> \"'\ud800 \uffff 😀\x9b2J\u202e\x7f\r"
    text = junit([Case(nasty, Verdict.DIFFERENT, nasty, failed=True)], [], 0.0, (nasty, nasty))
    case = ET.fromstring(text)[0]  # noqa: S314  our own
    assert "😀" in (case.get("name") or "")
    assert not set(text) & set("\x1b\x9b\u202e\x7f\r")


def test_what_ended_a_replay_is_an_error_of_it() -> None:
    cases = [Case("record 1", Verdict.SAME)]
    suite = ET.fromstring(junit(cases, [], 1.0, ("connection_lost", "It fell")))  # noqa: S314
    counts = [suite.get(name) for name in ("tests", "failures", "errors")]
    assert counts == ["2", "0", "1"]
    error = suite[1].find("error")
    assert error is not None
    assert (error.get("type"), error.get("message")) == ("connection_lost", "It fell")
