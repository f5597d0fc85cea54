"""An operator's situation, put together for one test."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path
from typing import Any

from megabot_cli.client.credentials import Credential
from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.tokens import TokenSource
from megabot_cli.client.trust import tls_context
from megabot_cli.config.load import Configuration, load
from megabot_cli.doctor.case import Case, Folders, Upstream
from megabot_cli.doctor.examination import examine
from megabot_cli.doctor.findings import Finding


def folders_in(home: Path) -> Folders:
    return Folders(
        config_file=home / "config.yaml",
        credentials=home / "credentials",
        run=home / "run",
        client_token=home / "client-token",
        recordings=home / "recordings",
    )


def case_at(home: Path, url: str, *, token: str | None = "token-1", **profile: Any) -> Case:
    """Somebody with a token for the upstream at `url`; `profile` has more of its settings."""
    configuration = load(environment={"MEGABOT_URL": url, **_as_variables(profile)})
    origin = parse_endpoint(url).origin
    found = Credential("jwt", token, origin, username="ann") if token is not None else None
    upstream = Upstream(
        configuration=configuration,
        stored_at=lambda: "file x" if found is not None else None,
        find_credential=lambda: found,
        token_source=lambda http, used: TokenSource(http, parse_endpoint(url), credential=used),
        trust=lambda: _trust(configuration),
        relay=None,
        client_token=None,
    )
    return Case("0.0.0", folders=folders_in(home), upstream=upstream)


def _as_variables(profile: dict[str, Any]) -> dict[str, str]:
    return {f"MEGABOT_{name.upper()}": str(value) for name, value in profile.items()}


def _trust(configuration: Configuration) -> ssl.SSLContext | bool:
    return tls_context(configuration.profile.tls)


def with_credential(case: Case, credential: Credential) -> Case:
    assert case.upstream is not None
    changed = dataclasses.replace(case.upstream, find_credential=lambda: credential)
    return dataclasses.replace(case, upstream=changed)


async def findings_of(case: Case) -> dict[str, Finding]:
    """Every check by its name."""
    return {finding.check: finding async for finding in examine(case)}


def verdicts(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.verdict for name, finding in findings.items()}
