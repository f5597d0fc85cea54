"""Which settings a running relay takes over, and which wait for a restart."""

from __future__ import annotations

import msgspec

from megabot_cli.config.schema import LimitSettings, RelaySettings

# Sockets are bound and sessions are shaped by these when the relay starts.
FIXED = frozenset(
    {
        "listen",
        "admin_listen",
        "mode",
        "also",
        "insecure_remote",
        "flight_recorder_s",
        "flight_recorder_bytes",
        "flight_recorder_trigger",
    }
)


def take_over(
    old: tuple[RelaySettings, LimitSettings], new: tuple[RelaySettings, LimitSettings]
) -> tuple[RelaySettings, LimitSettings, list[str], list[str]]:
    """The settings in force from now on, the names that changed, and those that wait.

    Clients and links that are there already keep what they were opened with.
    """
    changed: list[str] = []
    waits: list[str] = []
    kept: dict[str, object] = {}
    for name in RelaySettings.__struct_fields__:
        before, after = getattr(old[0], name), getattr(new[0], name)
        if before == after:
            continue
        if name in FIXED:
            waits.append(f"relay.{name}")
            kept[name] = before
        else:
            changed.append(f"relay.{name}")
    changed += [
        f"limits.{name}"
        for name in LimitSettings.__struct_fields__
        if getattr(old[1], name) != getattr(new[1], name)
    ]
    return msgspec.structs.replace(new[0], **kept), new[1], changed, waits
