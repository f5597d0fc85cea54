"""`megabot doctor`: every layer between here and an answer, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.tree import examples, forms, takes_no_more
from megabot_cli.errors import MegabotError
from megabot_cli.version import __version__

if TYPE_CHECKING:
    from megabot_cli.doctor.case import Case
    from megabot_cli.doctor.findings import Finding


@forms("text", "json", "jsonl")
@examples(
    ("megabot doctor", "What is wrong, and what to do about it"),
    ("megabot doctor --report report.md", "The same, to hand to somebody else"),
    ("megabot doctor --json | jq -r '.checks[].fix // empty'", "Only what to do"),
)
@takes_no_more("`megabot doctor --url URL` looks at another upstream than the profile's.")
def doctor(
    context: typer.Context,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            dir_okay=False,
            help="Also write all of it, without secrets, into a new FILE (.json, else Markdown).",
        ),
    ] = None,
) -> None:
    """Find out what is wrong, and how to mend it.

    Looks at one layer after the other: settings, files, disk, keyring, relay, name, TCP, TLS,
    clock, credential, socket, ping, and what the upstream can do. Each is ok, warn or fail, with
    the fix; what stands on a layer that failed is skipped. Ends with 0 when nothing failed, else
    with the exit code of the first failure.

    The url may be that of a relay: it needs no login of its own, and what is asked there is
    whether its links are up, whether it wants its client token, and what comes through it.

    The upstream's abilities are found by calling a tool that does not exist, in a session of
    its own. An existing FILE is not overwritten.
    """
    from megabot_cli.commands.diagnosing import case_of, write_report
    from megabot_cli.commands.running import run

    invocation: Invocation = context.obj
    case = case_of(invocation)
    if report is not None:
        _make_sure_of(report)
    findings = run(_examine(invocation, case))
    if report is not None:
        write_report(invocation, case, findings, report)
        invocation.console.note(f"The report is in {report}.")
    if invocation.output == "json":
        invocation.console.json(_summary(case, findings), indent=invocation.indent)
    _end(invocation, findings)


def _make_sure_of(report: Path) -> None:
    """Say now, and not after all the work, that the file cannot be made."""
    from megabot_cli.errors import WrongUsage

    if report.exists():
        raise WrongUsage(f"{report} is there already", "--report names a new file.")
    if not report.absolute().parent.is_dir():
        raise WrongUsage(f"There is no folder {report.absolute().parent}", "Make it first.")


async def _examine(invocation: Invocation, case: Case) -> list[Finding]:
    import msgspec

    from megabot_cli.doctor.examination import CHECKS, examine
    from megabot_cli.terminal.findings_printer import FindingsPrinter
    from megabot_cli.terminal.text import safe_json

    findings = []
    widest = max(len(check.name) for check in CHECKS)
    with FindingsPrinter(invocation.console, widest) as printer:
        async for finding in examine(case, lambda check: printer.begin(check.asks)):
            findings.append(finding)
            if invocation.output == "text":
                printer.show_finding(finding)
            elif invocation.output == "jsonl":
                invocation.console.line(safe_json(msgspec.json.encode(finding).decode()))
    return findings


def _summary(case: Case, findings: list[Finding]) -> dict[str, Any]:
    import platform

    import msgspec

    from megabot_cli.doctor.findings import counts, first_failure

    failed = first_failure(findings)
    configuration = case.upstream.configuration if case.upstream is not None else None
    return {
        "version": 1,
        "ok": failed is None,
        "exit": failed.exit if failed is not None else 0,
        "megabot": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "profile": configuration.profile_name if configuration is not None else None,
        "url": configuration.profile.url if configuration is not None else None,
        "counts": counts(findings),
        "checks": msgspec.to_builtins(findings),
    }


def _end(invocation: Invocation, findings: list[Finding]) -> None:
    """Say how it stands. Raises an error with the exit code of the first failure."""
    from megabot_cli.doctor.findings import counts, first_failure

    failed = first_failure(findings)
    number = counts(findings)
    if failed is None:
        warned = f", {number['warn']} could be better" if number["warn"] else ""
        invocation.console.note(f"Nothing is broken{warned}.")
        return
    kind = _error_with(failed.exit or 1)
    names = [each.check for each in findings if each.verdict == "fail"]
    # What is wrong with each stands on stdout already, unless that is for a program.
    said = f": {failed.message}" if invocation.output != "text" else ""
    message = f"{len(names)} of {len(findings)} checks failed ({', '.join(names)}){said}"
    raise kind(message, failed.fix)


def _error_with(exit_code: int) -> type[MegabotError]:
    return next(
        (kind for kind in MegabotError.__subclasses__() if kind.exit_code == exit_code),
        MegabotError,
    )
