"""What one check found, and what that means for the whole. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from megabot_cli.errors import MegabotError

Verdict = Literal["ok", "warn", "fail", "skipped"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the examination. Its fields are those of the JSON form, which only grow."""

    check: str
    verdict: Verdict
    message: str
    fix: str | None = None
    exit: int | None = None  # of a failure: the exit code that it stands for
    took_s: float | None = None
    facts: dict[str, Any] = {}


def ok(message: str, **facts: Any) -> Finding:
    return Finding("", "ok", message, facts=facts)


def warn(message: str, fix: str, **facts: Any) -> Finding:
    return Finding("", "warn", message, fix, facts=facts)


def skipped(why: str) -> Finding:
    return Finding("", "skipped", why)


def fail(fault: MegabotError, **facts: Any) -> Finding:
    """A failure in the words of an error of ours."""
    message = fault.message.removesuffix(".")
    return Finding("", "fail", message, fault.hint, fault.exit_code, facts=facts)


def named(finding: Finding, check: str, took_s: float | None = None) -> Finding:
    """The finding with its check's name and what it took, in seconds."""
    rounded = None if took_s is None else round(took_s, 4)
    return msgspec.structs.replace(finding, check=check, took_s=rounded)


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many there are of each verdict."""
    found: dict[str, int] = {"ok": 0, "warn": 0, "fail": 0, "skipped": 0}
    for each in findings:
        found[each.verdict] += 1
    return found


def first_failure(findings: Iterable[Finding]) -> Finding | None:
    return next((each for each in findings if each.verdict == "fail"), None)
