"""Whether the relay works, and whether a new client would be served: /healthz and /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from megabot_cli.relay.overview import Facts, profiles

if TYPE_CHECKING:
    from megabot_cli.relay.server import Relay


def health(relay: Relay) -> tuple[bool, Facts]:
    recorder = relay.recorder
    degraded = recorder is not None and not recorder.healthy
    facts: Facts = {"status": "degraded" if degraded else "ok"}
    if degraded and recorder is not None:
        facts["recording"] = recorder.fault
    return True, facts


def readiness(relay: Relay) -> tuple[bool, Facts]:
    """Of several profiles one that is served is enough; which are not stands beside it."""
    now = relay.gauges()
    facts: Facts = {"ready": now.ready, "links": dict(now.links)}
    if relay.draining:
        facts["reason"] = "draining"
    elif not now.ready:
        facts["reason"] = relay.why_down() or "the upstream is away"
    if len(relay.identities) > 1:
        facts["profiles"] = {
            name: {what: told for what, told in each.items() if what in ("links", "fault")}
            for name, each in profiles(relay, now).items()
        }
    return now.ready, facts
