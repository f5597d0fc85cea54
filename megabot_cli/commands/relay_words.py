"""What `megabot relay` says of itself while it runs, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.relay.identity import Upstream
    from megabot_cli.relay.server import Relay
    from megabot_cli.storage.run_files import RunningRelay


def status_line(relay: Relay) -> str:
    """For whoever asks the service manager."""
    now = relay.gauges()
    state = "stopping, " if now.draining else "" if now.ready else f"{relay.why_down()}; "
    clients = counted(now.clients, "client")
    return f"{state}{clients}, {now.links['up']} of {now.links.total()} links up"


def never_reached(relay: Relay) -> str:
    """Said last: whoever stops it may not have looked at the log."""
    upstreams = [each.parts.endpoint.address for each in relay.identities.values()]
    where = " and ".join(upstreams)
    return f"the relay never reached {where}; the log says why, `megabot doctor` what helps"


def ready_facts(running: list[RunningRelay], upstreams: dict[str, Upstream]) -> dict[str, Any]:
    """The ready line; `running` is the profile of clients that name none, then the others."""
    main = running[0]
    facts: dict[str, Any] = {
        "url": main.url,
        "tap_url": main.tap_url,
        "admin_url": main.admin_url,
        "profile": main.profile,
        "upstream": main.upstream,
        "upstream_state": upstreams[main.profile],
        "recording": main.recording,
        "pid": main.pid,
    }
    if len(running) > 1:
        facts["profiles"] = {
            each.profile: {
                "url": each.url,
                "upstream": each.upstream,
                "upstream_state": upstreams[each.profile],
            }
            for each in running
        }
    return facts
