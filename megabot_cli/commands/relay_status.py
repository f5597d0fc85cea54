"""What `megabot relay status` shows people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.terminal.console import Console


def _metrics(admin_url: str) -> str:
    """Where Prometheus finds the numbers; of a Unix socket, the socket."""
    return f"{admin_url}/metrics" if admin_url.startswith("http") else admin_url


def _by_state(links: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(links.items())) or "none"


def print_status(console: Console, facts: dict[str, Any]) -> None:
    """`facts` are those of `relay/overview`."""
    from megabot_cli.terminal.progress import format_duration
    from megabot_cli.terminal.views import date_and_time, print_facts, size

    state = "draining" if facts["draining"] else "ready" if facts["ready"] else "not ready"
    passed, volume = facts["messages"], facts["bytes"]
    rows = [
        ("state", f"{state}, {facts['mode']} mode, up {format_duration(facts['uptime_s'])}"),
        ("upstream", f"{facts['upstream']} ({facts['profile']})"),
        ("listens", facts["url"]),
        ("metrics", _metrics(facts["admin_url"])),
        ("links", _by_state(facts["links"])),
        (
            "clients",
            f"{facts['clients']} on {counted(facts['sessions'], 'session')}, "
            f"{counted(facts['taps'], 'tap')}",
        ),
        ("up", f"{counted(passed['to_upstream'], 'message')}, {size(volume['to_upstream'])}"),
        ("down", f"{counted(passed['to_client'], 'message')}, {size(volume['to_client'])}"),
        (
            "waiting",
            f"{facts['waiting_to_upstream']} to go up, {size(facts['outbox_bytes'])} to clients",
        ),
    ]
    for name, profile in facts.get("profiles", {}).items():
        fault = f": {profile['fault']}" if profile["fault"] else ""
        links = _by_state(profile["links"])
        rows.append(("profile", f"{name}, {profile['upstream']}, links {links}{fault}"))
    for name, field in (("token", "token_expires_at"), ("certificate", "certificate_ends_at")):
        if ends_at := facts.get(field):
            word = "until" if ends_at > time.time() else "ended"
            rows.append((name, f"{word} {date_and_time(ends_at)}"))
    if recording := facts.get("recording"):
        fault = f" FAILED: {recording['fault']}" if recording["fault"] else ""
        rows.append(
            (
                "recording",
                f"{recording['folder']}, {counted(recording['records'], 'record')}{fault}",
            )
        )
    if flight := facts.get("flight_recorder"):
        waits = f", written when {flight['trigger']}" if flight.get("trigger") else ""
        rows.append(
            ("flight", f"{counted(flight['records'], 'record')}, {size(flight['bytes'])}{waits}")
        )
    if facts.get("fault") and not facts.get("profiles"):  # there it stands with whose it is
        rows.append(("fault", facts["fault"]))
    print_facts(console, rows)
