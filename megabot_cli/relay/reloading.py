"""Which settings a running relay takes over, and which wait for a restart."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from megabot_cli.config.schema import LimitSettings, RelaySettings, Settings

# Sockets are bound and sessions are shaped by these when the relay starts.
FIXED = frozenset(
    {
        "listen",
        "admin_listen",
        "mode",
        "also",
        "echo",
        "insecure_remote",
        "header_deadline_s",
        "max_unknown",
        "heartbeat_s",
        "flight_recorder_s",
        "flight_recorder_bytes",
        "flight_recorder_trigger",
    }
)

TLS_FILES = frozenset({"tls_cert_file", "tls_key_file"})


class Reread(msgspec.Struct, frozen=True):
    """What the configuration says now; `waits` names what else is different there."""

    relay: RelaySettings
    limits: LimitSettings
    waits: list[str] = []


def reread(first: Settings, now: Settings, served: Iterable[str], *, gateway: bool) -> Reread:
    """Beside relay and limits all that a running relay uses waits for a restart.

    `first` is what it was started with; `gateway` says whether it runs one.
    """
    waits = ["profile"] if now.profile != first.profile else []
    waits += _differences("recording", first.recording, now.recording)
    for name in served:
        before, after = first.named_profile(name), now.named_profile(name)
        if after is None:
            waits.append(f"profiles.{name}")
        elif before is not None:
            waits += _differences(f"profiles.{name}", before, after)
    if gateway:
        waits += _differences("gateway", first.gateway, now.gateway)
    return Reread(now.relay, now.limits, waits)


def _differences(section: str, before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    return [
        f"{section}.{name}"
        for name in before.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    ]


def take_over(
    old: tuple[RelaySettings, LimitSettings], new: Reread
) -> tuple[RelaySettings, LimitSettings, list[str], list[str]]:
    """The settings in force from now on, the names that changed, and those that wait.

    What holds for a session as a whole changes for all its clients (`Session.take_over`); what a
    connection was opened with, such as its outbox, changes with the next one.
    """
    changed: list[str] = []
    waits: list[str] = []
    kept: dict[str, object] = {}
    # Where there was no TLS there will be none, and a door that has it keeps it.
    without_tls = old[0].tls_cert_file is None or new.relay.tls_cert_file is None
    fixed = FIXED | TLS_FILES if without_tls else FIXED
    for name in RelaySettings.__struct_fields__:
        before, after = getattr(old[0], name), getattr(new.relay, name)
        if before == after:
            continue
        if name in fixed:
            waits.append(f"relay.{name}")
            kept[name] = before
        else:
            changed.append(f"relay.{name}")
    changed += _differences("limits", old[1], new.limits)
    return msgspec.structs.replace(new.relay, **kept), new.limits, changed, [*waits, *new.waits]
