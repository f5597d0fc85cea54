"""What `megabot relay` says of itself while it runs, and when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.relay.server import Relay


def status_line(relay: Relay) -> str:
    """For whoever asks the service manager."""
    now = relay.gauges()
    state = "stopping, " if now.draining else "" if now.ready else f"{relay.why_down()}; "
    clients = counted(now.clients, "client")
    return f"{state}{clients}, {now.links['up']} of {now.links.total()} links up"


def never_reached(relay: Relay) -> str:
    """Said last: whoever stops it may not have looked at the log."""
    origins = " and ".join(identity.origin for identity in relay.identities.values())
    return f"the relay never reached {origins}; the log says why, `megabot doctor` what helps"
