"""One file about an examination, to hand to somebody else: no secret, no name of a person."""

from __future__ import annotations

import json
import os
import platform
import re
import ssl as tls
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import msgspec

from megabot_cli.doctor.findings import Finding, counts
from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.redaction import Redactor

REPORT_VERSION = 1
_LIBRARIES = (
    "aiohttp", "msgspec", "typer", "pyyaml", "structlog", "prometheus-client", "uvloop", "keyring",
    "zstandard", "common-expression-language",
)  # fmt: skip


class SettingShown(msgspec.Struct, frozen=True):
    """One setting as the report has it."""

    name: str
    value: Any
    source: str


def program(version: str) -> dict[str, Any]:
    """What runs here: versions and platform."""
    return {
        "megabot": version,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "openssl": tls.OPENSSL_VERSION,
        "locale": os.environ.get("LC_ALL") or os.environ.get("LANG") or "",
        "libraries": {name: found for name in _LIBRARIES if (found := _version_of(name))},
    }


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def write_report(
    form: str,
    version: str,
    settings: Sequence[SettingShown],
    findings: Sequence[Finding],
    hidden: Mapping[str, str],
    known: KnownSecrets | None = None,
) -> str:
    """The report as `json` or `markdown`. `hidden`: texts that must not stand in it, and what
    stands in their place; `known`: secrets that go however they are spelt."""
    facts = {
        "report_version": REPORT_VERSION,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": program(version),
        "counts": counts(findings),
        "settings": msgspec.to_builtins(list(settings)),
        "checks": msgspec.to_builtins(list(findings)),
    }
    clean = _cleaned(facts, hidden, Redactor(os.urandom(32), known=known))
    if form == "json":
        return json.dumps(clean, ensure_ascii=False, indent=2) + "\n"
    return _as_markdown(clean)


def _cleaned(value: Any, hidden: Mapping[str, str], redactor: Redactor) -> Any:
    """The same with every text rid of what is hidden and of whatever looks secret."""
    if isinstance(value, str):
        for text, stands_for in hidden.items():
            value = _replaced(value, text, stands_for)
        return redactor.clean(value)
    if isinstance(value, dict):
        return {key: _cleaned(each, hidden, redactor) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(each, hidden, redactor) for each in value]
    return value


def _replaced(value: str, text: str, stands_for: str) -> str:
    """A short name is replaced where it is a word; in others it is a syllable."""
    if len(text) > 8 or not text.isalnum():
        return value.replace(text, stands_for)
    return re.sub(rf"\b{re.escape(text)}\b", lambda _: stands_for, value)


def _as_markdown(facts: dict[str, Any]) -> str:
    told = facts["program"]
    python = f"{told['implementation']} {told['python']}"
    libraries = ", ".join(f"{name} {version}" for name, version in told["libraries"].items())
    lines = [
        "# megabot doctor",
        "",
        f"Made at {facts['made_at']}. Secrets and names of people were taken out.",
        "",
        f"- megabot {told['megabot']}, {python}, {told['openssl']}",
        f"- {told['platform']}",
        f"- {libraries}",
        "",
        "## Checks",
        "",
        "| check | | |",
        "|---|---|---|",
    ]
    for each in facts["checks"]:
        fix = f" → {each['fix']}" if each["fix"] else ""
        lines.append(f"| {each['check']} | {each['verdict']} | {_cell(each['message'] + fix)} |")
    lines += ["", "## Settings that somebody has set", "", "| setting | value | source |"]
    lines.append("|---|---|---|")
    for each in facts["settings"]:
        if each["source"] != "default":
            value = json.dumps(each["value"], ensure_ascii=False)
            lines.append(f"| {each['name']} | {_cell(f'`{value}`')} | {_cell(each['source'])} |")
    lines += ["", "## Facts", "", "```json"]
    lines.append(
        json.dumps(
            {each["check"]: each["facts"] for each in facts["checks"] if each["facts"]},
            ensure_ascii=False,
            indent=1,
        )
    )
    lines += ["```", ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def home_of(environ: Mapping[str, str]) -> str | None:
    """The home folder, which tells a person's name."""
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return home if home and home != "/" else None
